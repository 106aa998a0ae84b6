"""Character sets of keys and answers."""

import pytest
from pydicom.dataset import Dataset

from regionmir.core.charset import UndecodableText, decode, fits, known_terms, set_charset

KOREAN = ("", "ISO 2022 IR 149")
JAPANESE = ("", "ISO 2022 IR 87")
CYRILLIC = ("ISO_IR 144",)
LATIN = ("ISO_IR 100",)


@pytest.mark.parametrize(
    ("raw", "terms", "text"),
    [
        (b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=", KOREAN, "Hong^Gildong=洪^吉洞="),
        (b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=", JAPANESE, "Yamada^Tarou=山田^太郎="),
        (b"\xbb\xee\xda\xe1\xd5\xdc\xd1\xe3\xe0\xd3", CYRILLIC, "Люксембург"),
        (b"Buc^J\xe9r\xf4me", LATIN, "Buc^Jérôme"),
        ("王^小東".encode(), ("ISO_IR 192",), "王^小東"),
        ("王^小东".encode("gb18030"), ("GB18030",), "王^小东"),
        (b"plain", (), "plain"),
    ],
)
def test_a_key_is_decoded_by_the_character_set_of_the_request(raw: bytes, terms: tuple[str, ...], text: str) -> None:
    assert decode(raw, terms) == text


@pytest.mark.parametrize(("raw", "terms"), [(b"\xe9", ()), (b"\xff\xfe", ("ISO_IR 192",)), (b"\x1b$)Xab", KOREAN)])
def test_bytes_outside_the_character_set_are_refused_not_replaced(raw: bytes, terms: tuple[str, ...]) -> None:
    with pytest.raises(UndecodableText):
        decode(raw, terms)


def test_an_unknown_character_set_is_refused() -> None:
    with pytest.raises(UndecodableText):
        known_terms(["ISO_IR 999"])
    assert known_terms([""]) == ()


@pytest.mark.parametrize(
    ("name", "terms", "fitting"),
    [
        ("Hong^Gildong=洪^吉洞=홍^길동", KOREAN, True),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", JAPANESE, True),
        ("Люксембург", CYRILLIC, True),
        ("Jérôme", LATIN, True),
        ("Jérôme", (), False),
        ("Jérôme", KOREAN, False),
        ("홍^길동", LATIN, False),
        ("홍^길동", JAPANESE, False),
        ("Люксембург^山", CYRILLIC, False),
    ],
)
def test_an_answer_keeps_the_character_set_of_the_request_where_every_value_fits(
    name: str, terms: tuple[str, ...], fitting: bool
) -> None:
    answer = Dataset()
    answer.PatientName = name
    set_charset(answer, terms)
    sent = answer.SpecificCharacterSet
    assert ([sent] if isinstance(sent, str) else list(sent)) == (list(terms) if fitting else ["ISO_IR 192"])


def test_a_plain_answer_names_a_character_set_all_the_same() -> None:
    answer = Dataset()
    answer.PatientName = "Doe^John"
    set_charset(answer, ())
    assert answer.SpecificCharacterSet == "ISO_IR 100"


def test_the_latin_letters_of_another_repertoire_are_not_taken_for_the_default_one() -> None:
    assert not fits("Stra\u00dfe", KOREAN)
