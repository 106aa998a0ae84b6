"""Text in and out of a request's character set (PS3.5 6.1.2, PS3.3 C.12.1.1.2): strict, nothing is replaced."""

import re
from collections.abc import Iterable, Sequence
from typing import Final

from pydicom.charset import decode_bytes, encode_string, python_encoding
from pydicom.dataset import Dataset

from regionmir.core import plain_errors  # noqa: F401 - for what it does
from regionmir.core.errors import InvalidIdentifier

UTF8: Final = "ISO_IR 192"
ASCII_AS: Final = "ISO_IR 100"
"""How an answer in the default repertoire is labelled: the attribute is always sent and has no term for ASCII."""

TEXT_VRS: Final = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
"""Value representations that the character set applies to (PS3.5 6.1.2.2)."""

_DEFAULT_TERMS = frozenset({"", "ISO_IR 6", "ISO 2022 IR 6"})
_DEFINED_TERM = re.compile(r"ISO_IR \d+|ISO 2022 IR \d+|GB18030|GBK")  # pydicom knows misspelt ones too
_DELIMITERS = {ord(c) for c in "\r\n\t\f^=\\"}
_ESCAPE = b"\x1b"


class UndecodableText(InvalidIdentifier):
    """A key that its own SpecificCharacterSet does not decode, or a character set that nobody knows."""


def known_character_sets() -> list[str]:
    """Return the Defined Terms of SpecificCharacterSet that are understood (PS3.3 C.12.1.1.2)."""
    return sorted(term for term in python_encoding if _DEFINED_TERM.fullmatch(term))


def known_terms(terms: Iterable[str]) -> tuple[str, ...]:
    """Return the values of a SpecificCharacterSet, stripped. Raises `UndecodableText` for one that nobody knows."""
    stripped = tuple(term.strip() for term in terms)
    for term in stripped:
        if term not in python_encoding and term not in _DEFAULT_TERMS:
            raise UndecodableText("SpecificCharacterSet is not known")
    return stripped if any(stripped) else ()


def decode(raw: bytes, terms: Sequence[str]) -> str:
    """Return the text of `raw` under the character set `terms`. Raises `UndecodableText`."""
    try:
        text = decode_bytes(raw, _codecs(terms), _DELIMITERS) if _ESCAPE in raw else raw.decode(_codecs(terms)[0])
    except (UnicodeError, LookupError, UserWarning):  # a warning where warnings are errors
        raise UndecodableText("a key is not in the SpecificCharacterSet of the request") from None
    if "\ufffd" in text or "\x1b" in text:
        raise UndecodableText("a key is not in the SpecificCharacterSet of the request")
    return text


def set_charset(answer: Dataset, terms: Sequence[str]) -> None:
    """Set SpecificCharacterSet of `answer`: the request's `terms` where every value fits, else ISO_IR 192."""
    texts = set(_texts(answer))
    if all(text.isascii() for text in texts):
        chosen: Sequence[str] = terms or (ASCII_AS,)
    else:
        chosen = terms if terms and all(fits(text, terms) for text in texts) else (UTF8,)
    answer.SpecificCharacterSet = chosen[0] if len(chosen) == 1 else list(chosen)


def fits(text: str, terms: Sequence[str]) -> bool:
    """Return whether `text` can be written in the character set `terms` and read back the same."""
    if text.isascii():
        return True
    codecs = [python_encoding[term] for term in terms if term not in _DEFAULT_TERMS]
    if not all(c.isascii() or any(_encodes(c, codec) for codec in codecs) for c in text):
        return False
    try:
        return decode(encode_string(text, [python_encoding[term] for term in terms]), terms) == text
    except (UndecodableText, UnicodeError, UserWarning):
        return False


def _codecs(terms: Sequence[str]) -> list[str]:
    """pydicom reads the default repertoire as Latin-1, which decodes anything; it is ASCII."""
    return ["ascii" if term in _DEFAULT_TERMS else python_encoding[term] for term in terms] or ["ascii"]


def _encodes(character: str, codec: str) -> bool:
    try:
        character.encode(codec)
    except UnicodeError:
        return False
    return True


def _texts(dataset: Dataset) -> Iterable[str]:
    for element in dataset.iterall():
        if element.VR in TEXT_VRS and element.value:
            values = element.value if isinstance(element.value, list | tuple) or element.VM > 1 else [element.value]
            for value in values:
                yield from str(value).replace("=", "^").split("^") if element.VR == "PN" else (str(value),)
