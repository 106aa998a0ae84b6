"""Canaries: values that tell which attribute they were put in, and a search for them in what leaves."""

import datetime as dt
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

_TEXT_VRS = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})


@dataclass
class Canaries:
    """Makes canaries, one for each place, and finds them again. `texts` and `binaries`: by place."""

    texts: dict[str, str] = field(default_factory=dict)
    binaries: dict[str, bytes] = field(default_factory=dict)
    _number: Iterator[int] = field(default_factory=lambda: count(1))

    def text(self, place: str) -> str:
        return self.texts.setdefault(place, f"CANARY{next(self._number):05d}")

    def uid(self, place: str) -> str:
        return self.texts.setdefault(place, f"1.2.826.0.1.4711.{next(self._number)}.4711")

    def day(self, place: str) -> str:
        """Return a day; all are whole weeks apart, so that none is another that was moved by 100 days."""
        day = dt.date(1801, 1, 1) + dt.timedelta(weeks=next(self._number))
        return self.texts.setdefault(place, f"{day:%Y%m%d}")

    def time(self, place: str) -> str:
        return self.texts.setdefault(place, f"010203.{900000 + next(self._number)}")

    def number(self, place: str) -> str:
        return self.texts.setdefault(place, f"7{next(self._number):05d}131")

    def raw(self, place: str, size: int, pack: str) -> int | float:
        value = 0x5A5A_0000 + next(self._number) if size > 2 else 0x5A00 + next(self._number) % 256
        self.binaries[place] = struct.pack(pack, value)
        return value

    def value(self, place: str, vr: str, depth: int) -> Any:
        """Return a canary that is a value of this VR; a sequence holds more of them."""
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

    def put(self, dataset: Dataset, attribute: str | int, place: str | None = None) -> None:
        """Put a canary into the attribute of this keyword or tag."""
        from pydicom.tag import Tag

        tag = Tag(attribute)
        try:
            vr = dictionary_VR(tag).split(" or ")[0]
        except KeyError:
            vr = "LO"
        place = place or f"{tag} {keyword_for_tag(tag)}"
        dataset.add(DataElement(tag, vr, self.value(place, vr, 0), validation_mode=0))

    def private(self, dataset: Dataset, place: str) -> None:
        """Put canaries into a private block."""
        block = dataset.private_block(0x0019, "CANARY BLOCK", create=True)
        block.add_new(1, "LO", self.text(f"{place} LO"))
        block.add_new(2, "UN", self.text(f"{place} UN").encode())
        self.texts[f"{place} creator"] = "CANARY BLOCK"

    def leaks(self, copy: Dataset, encoded: bytes) -> list[str]:
        """Return the places of the canaries that are found in a copy: in its values as decoded, or in its bytes."""
        decoded = "\n".join(_decoded(copy)).upper()
        found = [place for place, text in self.texts.items() if text.upper() in decoded or _is_in(text, encoded)]
        return found + [place for place, value in self.binaries.items() if len(value) > 2 and value in encoded]


def _is_in(text: str, encoded: bytes) -> bool:
    """Return whether the text stands in the bytes in one of the encodings that DICOM text comes in."""
    kinds = (
        "ascii",
        "utf-8",
        "iso2022_jp",
        "iso2022_kr",
        "shift_jis",
        "euc_kr",
        "latin-1",
        "iso8859_5",
        "gb18030",
        "utf-16-le",
    )
    for kind in kinds:
        try:
            if text.encode(kind) in encoded:
                return True
        except UnicodeEncodeError:
            continue
    return False


def _decoded(dataset: Dataset) -> Iterator[str]:
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from _decoded(item)
        else:
            yield f"{element.name} {element.value!s}"
