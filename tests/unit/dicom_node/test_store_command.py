"""The command of a C-STORE is read, and answered, as pynetdicom would; what is unusual is left to pynetdicom."""

from io import BytesIO

import pytest
from pynetdicom.dimse_messages import C_STORE_RQ, C_STORE_RSP
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode

from dicom_node.store_command import StoreCommand, response, store_command
from regionmir.core.identifiers import Uid

CR, SOP = Uid("1.2.840.10008.5.1.4.1.1.1"), Uid("1.2.3.4")


def encoded(**values: object) -> bytes:
    request = C_STORE()
    request.MessageID = 65535
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = CR, SOP
    request.DataSet = BytesIO(b"there is one")
    for name, value in values.items():
        setattr(request, name, value)
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    found = encode(message.command_set, True, True)
    assert found is not None
    return found


def element(number: int, value: bytes, group: int = 0) -> bytes:
    return group.to_bytes(2, "little") + number.to_bytes(2, "little") + len(value).to_bytes(4, "little") + value


@pytest.mark.parametrize(
    "of_a_move", [{}, {"MoveOriginatorApplicationEntityTitle": "MOVER", "MoveOriginatorMessageID": 3}]
)
def test_what_pynetdicom_sends_is_read(of_a_move: dict[str, object]) -> None:
    assert store_command(encoded(**of_a_move)) == StoreCommand(65535, CR, SOP)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        encoded()[:-1],
        encoded()[:-12],
        encoded() + element(0x1032, b"\0\0"),
        encoded() + element(0x1000, b"1.2.3.5\0"),
        encoded() + element(0x0010, b"AB", group=8),
        encoded().replace(element(0x0100, b"\x01\x00"), element(0x0100, b"\x30\x00")),
        encoded().replace(element(0x0110, b"\xff\xff"), element(0x0110, b"\xff\xff\xff\xff")),
        encoded().replace(SOP.encode(), b"1.2.3.a"),
        encoded().replace(SOP.encode(), b"1.2\\3.4"),
        encoded(DataSet=None),
    ],
    ids=[
        "empty", "cut off in a value", "without instance", "unknown element", "an element twice", "another group",
        "C-ECHO", "of another length", "no UID", "two UIDs", "no data set",
    ],
)  # fmt: skip
def test_anything_else_is_left_to_pynetdicom(data: bytes) -> None:
    assert store_command(data) is None


def test_the_answer_is_encoded_as_pynetdicom_encodes_it() -> None:
    answer = C_STORE()
    answer.MessageIDBeingRespondedTo = 7
    answer.AffectedSOPClassUID, answer.AffectedSOPInstanceUID, answer.Status = CR, SOP, 0x0000
    message = C_STORE_RSP()
    message.primitive_to_message(answer)
    assert response(StoreCommand(7, CR, SOP), 0x0000) == encode(message.command_set, True, True)
