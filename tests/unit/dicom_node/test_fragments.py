"""Fragments are found where they lie; what is malformed is told from what is whole."""

import pytest

from dicom_node.fragments import fragments_of


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
