"""Fragments are found where they lie; what is malformed is told from what is whole."""

import pytest

from dicom_node.fragments import HEAD_BYTES, fragments_of, pdu


def item(context_id: int, value: bytes) -> bytes:
    return (1 + len(value)).to_bytes(4, "big") + bytes([context_id]) + value


def test_every_presentation_data_value_of_a_pdu_is_found() -> None:
    body = item(1, b"\x03command") + item(1, b"\x00first") + item(3, b"\x02")
    found = fragments_of(memoryview(body))
    assert found is not None
    assert [(context, bytes(value)) for context, value in found] == [
        (1, b"\x03command"),
        (1, b"\x00first"),
        (3, b"\x02"),
    ]


def test_a_value_shares_the_memory_that_was_read_into() -> None:
    read = bytearray(item(1, b"\x00data"))
    found = fragments_of(memoryview(read))
    assert found is not None
    read[-1:] = b"A"
    assert bytes(found[0][1]) == b"\x00datA"


@pytest.mark.parametrize(
    "body",
    [
        item(1, b"\x00data")[:-1],
        item(1, b"\x00data") + b"\x00\x00",
        b"\x00\x00\x00\x01\x01",
        b"\x00\x00\x00\x00",
        b"\xff\xff\xff\xff\x01\x00",
    ],
    ids=["cut off", "ends in a length", "without control header", "of no length", "longer than all"],
)
def test_a_malformed_field_has_no_fragments(body: bytes) -> None:
    assert fragments_of(memoryview(body)) is None


def test_a_pdu_with_one_value_is_found_again() -> None:
    made = pdu(5, 0b11, b"command")
    assert made[:HEAD_BYTES] == b"\x04\x00" + (len(made) - HEAD_BYTES).to_bytes(4, "big")
    assert [(one, bytes(data)) for one, data in fragments_of(memoryview(made)[HEAD_BYTES:]) or []] == [
        (5, b"\x03command")
    ]
