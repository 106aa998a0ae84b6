import pytest

from regionmir.core.errors import InvalidAETitle, InvalidUid
from regionmir.core.identifiers import parse_ae_title, parse_uid


@pytest.mark.parametrize("text", ["1.2.840.10008.1.1", "2.25.1", "1", "1." + "2" * 62, "1.02.3"])
def test_a_uid_of_digits_and_dots_up_to_64_characters_is_taken(text: str) -> None:
    assert parse_uid(text) == text


@pytest.mark.parametrize(
    "text", ["", ".", "1..2", "1.2.", "1.2\n", "1.a", "../../etc", "1." + "2" * 63, "1 .2", "１.2"]
)
def test_anything_else_is_no_uid(text: str) -> None:
    with pytest.raises(InvalidUid):
        parse_uid(text)


def test_an_ae_title_loses_the_padding_of_the_wire() -> None:
    assert parse_ae_title("  RGN_LLLZ ") == "RGN_LLLZ"


@pytest.mark.parametrize("text", ["", "   ", "A" * 17, "A\\B", "A\x00", "ÄE"])
def test_anything_else_is_no_ae_title(text: str) -> None:
    with pytest.raises(InvalidAETitle):
        parse_ae_title(text)
