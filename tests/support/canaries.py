"""Canaries: values that tell which attribute they were put in, and a search for them in what leaves."""

import base64
import datetime as dt
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from typing import Any, Final

from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

_TEXT_VRS = frozenset({"AE", "CS", "LO", "LT", "SH", "ST", "UC", "UR", "UT"})
_WORD: Final = "CANARY"
_ROOT: Final = "1.2.826.0.1.4711."
_STEMS: Final = re.compile(rb"CANARY\d{5}|1\.2\.826\.0\.1\.4711\.\d+\.4711")
_TOKEN: Final = re.compile(rb"(?<![0-9A-Z.])[0-9][0-9A-Z]{3,13}(?:\.[0-9]+)?(?![0-9A-Z.])")
_ISO_DAY: Final = re.compile(rb"(?<!\d)(\d{4})-(\d{2})-(\d{2})(?!\d)")
_ENCODINGS: Final = (
    "utf-8", "utf-16-le", "utf-16-be", "iso2022_jp", "iso2022_kr", "shift_jis", "euc_jp", "euc_kr", "gb18030",
    "latin-1", "iso8859_2", "iso8859_5", "iso8859_7", "koi8_r",
)  # fmt: skip
"""In which text leaves that is not ASCII; ASCII is the same in all of them but UTF-16 (and base64)."""
_SHIFTS: Final = re.compile(rb"\x1b[$(),\-./]*[@-Z]|[\x0e\x0f]")
"""Escape sequences and shifts of ISO 2022: what stands between them is searched."""

_LEAST_BYTES: Final = 4
"""Fewer stand in pixels by chance."""

IDEOGRAPHIC: Final = "孔雀鳥"
"""Begins the ideographic group of every name: characters of Japanese, Korean and Chinese sets alike."""


@dataclass
class Canaries:
    """Makes canaries, one for each place, and finds them again. `texts` and `binaries`: by place."""

    texts: dict[str, str] = field(default_factory=dict)
    binaries: dict[str, bytes] = field(default_factory=dict)
    _number: Iterator[int] = field(default_factory=lambda: count(1))
    _days: Iterator[int] = field(default_factory=count)

    def text(self, place: str) -> str:
        return self.texts.setdefault(place, f"{_WORD}{next(self._number):05d}")

    def uid(self, place: str) -> str:
        return self.texts.setdefault(place, f"{_ROOT}{next(self._number)}.4711")

    def day(self, place: str) -> str:
        """Return a day; all are over a year apart, so that none is another that was moved by up to a year.

        There are 880 such days; places beyond share them.
        """
        day = dt.date(1001, 1, 1) + dt.timedelta(days=367 * (next(self._days) % 880))
        return self.texts.setdefault(f"{place} day", f"{day:%Y%m%d}")

    def time(self, place: str) -> str:
        return self.texts.setdefault(place, f"010203.{900000 + next(self._number)}")

    def number(self, place: str) -> str:
        return self.texts.setdefault(place, f"7{next(self._number):05d}131")

    def name(self, place: str) -> str:
        """Return a person's name with three component groups (PS3.5 6.2): ASCII, ideographs, ideographs."""
        text = self.text(place)
        return f"{text}^Alphabetic={self._ideographs(place)}^名={IDEOGRAPHIC}"

    def _ideographs(self, place: str) -> str:
        number = next(self._number)
        digits = "".join("零一二三四五六七八九"[int(digit)] for digit in f"{number:05d}")
        return self.texts.setdefault(f"{place} ideographic", IDEOGRAPHIC + digits)

    def raw(self, place: str, size: int, pack: str) -> int | float:
        value = 0x5A5A_0000 + next(self._number) if size > 2 else 0x5A00 + next(self._number) % 256
        self.binaries[place] = struct.pack(pack, value)
        return value

    def value(self, place: str, vr: str, depth: int, *, groups: bool = False) -> Any:
        """Return a canary that is a value of this VR; a sequence holds more of them. `groups`: of names too."""
        if vr == "PN":
            return self.name(place) if groups else self.text(place)
        if vr in _TEXT_VRS:
            return self.text(place)
        if vr == "AS":
            return self.texts.setdefault(place, f"{700 + next(self._number) % 300}W")
        if vr == "UI":
            return self.uid(place)
        if vr == "DA":
            return self.day(place)
        if vr == "DT":
            return self.day(place) + "010203"
        if vr == "TM":
            return self.time(place)
        if vr in ("IS", "DS"):
            return self.number(place)
        if vr == "SQ":
            return [self.item(place, depth + 1)]
        if vr in ("FD", "FL"):
            return float(self.raw(place, 8, "<d" if vr == "FD" else "<f"))
        if vr in ("US", "SS"):
            return self.raw(place, 2, "<H")
        if vr in ("UL", "SL"):
            return self.raw(place, 4, "<L")
        return (self.text(place) + "!").encode("ascii")

    def item(self, place: str, depth: int) -> Dataset:
        """Return an item with a code, a person, a comment, a date, a UID and a private element, and one below it."""
        made = Dataset()
        for keyword in (
            "CodeValue",
            "CodingSchemeDesignator",
            "CodeMeaning",
            "PersonName",
            "TextValue",
            "InstitutionName",
        ):
            self.put(made, keyword, f"{place}.{keyword}")
        for keyword in ("StudyDate", "ReferencedSOPInstanceUID", "AcquisitionDateTime"):
            self.put(made, keyword, f"{place}.{keyword}")
        self.private(made, f"{place}.private")
        if depth < 3:
            made.add_new(0x00401101, "SQ", [self.item(f"{place}>", depth + 1)])
            made.add_new(0x00081140, "SQ", [self.item(f"{place}<", depth + 1)])
        return made

    def put(self, dataset: Dataset, attribute: str | int, place: str | None = None, *, groups: bool = False) -> None:
        """Put a canary into the attribute of this keyword or tag; `groups`: into all groups of a person's name."""
        tag = Tag(attribute)
        try:
            vr = dictionary_VR(tag).split(" or ")[0]
        except KeyError:
            vr = "LO"
        place = place or f"{tag} {keyword_for_tag(tag)}"
        value = self.value(place, vr, 0, groups=groups)
        dataset.add(DataElement(tag, vr, value, validation_mode=0))

    def private(self, dataset: Dataset, place: str) -> None:
        """Put canaries into a private block."""
        block = dataset.private_block(0x0019, "CANARY BLOCK", create=True)
        block.add_new(1, "LO", self.text(f"{place} LO"))
        block.add_new(2, "UN", self.text(f"{place} UN").encode())
        self.texts[f"{place} creator"] = "CANARY BLOCK"

    def leaks(self, copy: Dataset, encoded: bytes) -> list[str]:
        """Return the places of the canaries that are found in a copy: in its values as decoded, or in its bytes."""
        index = CanaryIndex(self)
        return list(dict.fromkeys([*index.found_in(decoded(copy)), *index.found_in(encoded)]))


class CanaryIndex:
    """Finds canaries in bytes of any kind, whatever encoding they come in. Made once all canaries are."""

    def __init__(self, canaries: Canaries) -> None:
        self._places: dict[str, str] = {}
        for place, text in canaries.texts.items():
            self._places.setdefault(text.upper(), place)
        self._texts = list(canaries.texts.items())
        self._binaries = {value: place for place, value in canaries.binaries.items() if len(value) > 2}

    def found_in(self, data: bytes) -> list[str]:
        """Return the places of the canaries that stand in these bytes, each once.

        Text is found in any case, as ASCII, UTF-8, UTF-16, in the sets of ISO 2022 and others, and in base64.
        """
        upper = data.upper()
        found = [*self._ascii(upper), *self._ascii(upper.replace(b"\0", b"")), *self._base64(data)]
        found += [place for needle, place in self._needles if needle in upper or needle in data]
        if b"ZZ" in data:  # of every binary canary (see `Canaries.raw`)
            found += [place for value, place in self._binaries.items() if value in data]
        return list(dict.fromkeys(found))

    def _ascii(self, upper: bytes) -> Iterator[str]:
        for match in _STEMS.finditer(upper):
            word = match.group().decode()
            yield self._places.get(word, word)
        tokens = [match.group() for match in _TOKEN.finditer(upper)]
        tokens += [b"".join(match.groups()) for match in _ISO_DAY.finditer(upper)]
        for token in tokens:
            text = token.decode()
            for part in (text, text[:8]) if text.isdigit() else (text,):
                if part in self._places:
                    yield self._places[part]

    def _base64(self, data: bytes) -> Iterator[str]:
        for word, needles in self._encoded_stems.items():
            if any(needle in data for needle in needles):
                yield f"{word} in base64"

    @cached_property
    def _encoded_stems(self) -> dict[str, list[bytes]]:
        """The stems in base64 at each of the three places that they can have in a group of three bytes."""
        return {word: [_inner_base64(word.encode(), offset) for offset in range(3)] for word in (_WORD, _ROOT)}

    @cached_property
    def _needles(self) -> list[tuple[bytes, str]]:
        """What no token of ASCII is, in every encoding; ideographic canaries by what they all begin with."""
        texts: dict[str, str] = {}
        for place, text in self._texts:
            plain = text.upper().encode("ascii", "ignore").decode()
            if text.startswith(IDEOGRAPHIC):
                texts.setdefault(IDEOGRAPHIC, "an ideographic group of a name")
            elif plain != text.upper() or not (_STEMS.fullmatch(plain.encode()) or _TOKEN.fullmatch(plain.encode())):
                texts.setdefault(text, place)
        return [(needle, place) for text, place in texts.items() for needle in _encodings_of(text)]


def decoded(dataset: Dataset) -> bytes:
    """Return names and values of all elements, as decoded, in UTF-8."""
    return "\n".join(_lines(dataset)).encode("utf-8", "surrogatepass")


def _lines(dataset: Dataset) -> Iterator[str]:
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from _lines(item)
        else:
            yield f"{element.name} {element.value!s}"


def _encodings_of(text: str) -> set[bytes]:
    """Return the text in every encoding that has its characters, and as JSON, URLs and HTML write it."""
    made = {text.encode("unicode_escape"), "".join(f"&#{ord(c)};" for c in text).encode()}
    made.add("".join(f"%{byte:02X}" for byte in text.encode()).encode())
    for kind in _ENCODINGS:
        try:
            encoded = text.encode(kind)
        except UnicodeEncodeError:
            continue
        bare = _SHIFTS.sub(b"", encoded)
        made.add(bare if len(bare) >= _LEAST_BYTES else encoded)
    return {*made, *(one.upper() for one in made)}


def _inner_base64(text: bytes, offset: int) -> bytes:
    """Return the characters of base64 that depend on `text` alone, where `offset` bytes stand before it."""
    whole = base64.b64encode(b"\0" * offset + text + b"\0" * (-(offset + len(text)) % 3))
    return whole[-(-offset * 8 // 6) : (offset + len(text)) * 8 // 6]
