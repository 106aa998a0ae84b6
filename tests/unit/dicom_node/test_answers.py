"""Pending answers: the same bytes as pynetdicom's, whatever the length of a PDU."""

from io import BytesIO

import pytest
from pynetdicom.dimse_messages import C_FIND_RSP
from pynetdicom.dimse_primitives import C_FIND
from pynetdicom.pdu_primitives import P_DATA

from dicom_node.answers import PendingAnswers, is_pending

STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.2.1"


def response(status: int = 0xFF01, message_id: int = 7, identifier: bytes = b"\x10\x00" * 50) -> C_FIND:
    answer = C_FIND()
    answer.MessageIDBeingRespondedTo = message_id
    answer.AffectedSOPClassUID = STUDY_ROOT
    answer.Status = status
    answer.Identifier = BytesIO(identifier) if identifier else None
    return answer


def fragments(parts: list[P_DATA]) -> list[tuple[int, bytes]]:
    return [pair for part in parts for pair in part.presentation_data_value_list]


@pytest.mark.parametrize("limit", [0, 64, 16384])
def test_answers_are_encoded_as_pynetdicom_encodes_them(limit: int) -> None:
    answers = PendingAnswers()
    for answer in (
        response(),
        response(identifier=b"\x20\x00" * 80),
        response(message_id=8),
        response(status=0xFF00, message_id=8),
    ):
        reference = C_FIND_RSP()
        reference.primitive_to_message(answer)
        message, parts = answers.encoded(answer, 3, limit)
        assert fragments(list(parts)) == fragments(list(reference.encode_msg(3, limit)))
        assert message.command_set == reference.command_set


def test_only_a_pending_status_with_an_identifier_and_without_comment_is_such_an_answer() -> None:
    commented = response()
    commented.ErrorComment = "something"
    assert is_pending(response(0xFF00))
    assert is_pending(response(0xFF01))
    assert not is_pending(response(0x0000, identifier=b""))
    assert not is_pending(response(0xFF00, identifier=b""))
    assert not is_pending(commented)
