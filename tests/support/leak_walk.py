"""Random questions by a pseudonymous AE in every way in, and a search for canaries in whatever comes out."""

import random
import re
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pydicom.valuerep import CUSTOMIZABLE_CHARSET_VR

from regionmir.core.anatomy import ALL_REGIONS_AE, SIDE_CODES, Anatomy, anatomies
from regionmir.deid.profile import all_tags
from regionmir.query.keys import BLOCK_CREATOR, BLOCK_GROUP
from regionmir.query.matching import SERVICE_TAGS
from regionmir.scu.get import FILM_CLASSES, STORED_SYNTAXES, get, storage_contexts
from regionmir.scu.move import move
from tests.support.annotations import REPORT, key_image, presentation, report
from tests.support.canaries import CanaryIndex
from tests.support.canary_films import NO_IMAGE_GROUPS
from tests.support.find import PATIENT_ROOT, STUDY_ROOT, Found, ask, association, keys
from tests.support.leak_site import ASKER, Site, part10
from tests.support.peers import AE_TITLE

OURS: Final = "REGIONMIR"
CHARSETS: Final = ("ISO_IR 192", "ISO_IR 100", "GB18030", ["", "ISO 2022 IR 87"], ["", "ISO 2022 IR 149"])
IDENTIFIERS: Final = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
ASKED_OFTEN: Final = (
    "PatientName", "PatientID", "PatientSex", "PatientAge", "StudyDate", "StudyTime", "AccessionNumber", "Modality",
    "StudyDescription", "SeriesDescription", "SeriesNumber", "InstanceNumber", "SOPClassUID", "ViewPosition", "StudyID",
)  # fmt: skip
_TABLE: Final = [
    keyword_for_tag(tag) for tag in sorted(all_tags()) if keyword_for_tag(tag) and tag >> 16 not in NO_IMAGE_GROUPS
]
_LINK: Final = re.compile(rb'(?:href|src)="(/[^"]*)"')


class Walk:
    """Asks in ways drawn by chance. `leaks`: what was found; `matched`: originals that matched as keys; `asked`: how
    often each way was taken; `answered`: rows, objects and pages that came, by way; `searched`: bytes."""

    def __init__(self, site: Site, seed: int) -> None:
        self.site = site
        self.chance = random.Random(seed)
        self.index = CanaryIndex(site.canaries)
        self.taps = site.taps()
        self.leaks: list[str] = []
        self.searched = 0
        self.matched: list[str] = []
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.originals = self._originals()
        self._hits: list[str] = []
        self._links: list[str] = []

    def run(self, count: int) -> None:
        """Take `count` ways, and search after each."""
        names = list(WAYS)
        drawn = self.chance.choices(names, [often for often, _ in WAYS.values()], k=max(0, count - len(names)))
        for name in (*names, *drawn):  # each at least once
            self.take(name, WAYS[name][1])

    def run_until_answered(self, tries: int) -> None:
        """Go on with each way by which nothing came yet: chance may have drawn only questions without an answer."""
        for answered, name in ANSWERED_BY.items():
            for _ in range(tries):
                if self.answered[answered]:
                    break
                self.take(name, WAYS[name][1])

    def ask_every_original(self) -> None:
        """Use each value of a canary film as a key."""
        while self.originals:
            self.take("original as a key", original_key)

    def take(self, name: str, way: "Way") -> None:
        """Ask in one way, and search what came out."""
        way(self)
        self.asked[name] += 1
        self.search(name)

    def search(self, way: str) -> None:
        """Look into everything that came out since the last search."""
        for tap, take in self.taps.items():
            for data in take():
                self.searched += len(data)
                self.leaks += [f"{way}: {place} in {tap}" for place in self.index.found_in(data)]

    def find(self, way: str, identifier: Dataset, called: str = OURS, model: Any = STUDY_ROOT) -> Found:
        """Ask as the registered AE or as one of many that are not: who guesses anchors too often has to wait."""
        calling = self.chance.choice([ASKER, f"STRANGER{self.chance.randrange(50):02d}"])
        with association(self.site.node.port, calling=calling, called=called) as opened:
            found = ask(opened, identifier, model)
        for row in found.rows:
            self.site.see(row)
        self.site.decoded.append(found.comment.encode())
        self.answered[way] += len(found.rows)
        return found

    def study(self) -> dict[str, str]:
        """Return the pseudonyms of one of the films, canary or not, from patient to instance."""
        film = self.chance.choice([*self.site.films, *self.site.own])
        made = self.site.pseudonymizer.uid
        return {
            "StudyInstanceUID": made("study", film.StudyInstanceUID),
            "SeriesInstanceUID": made("series", film.SeriesInstanceUID),
            "SOPInstanceUID": made("instance", film.SOPInstanceUID),
        }

    def anchor(self) -> str:
        """Return an anchor: what the asker knows of a film, a code that it was told, a guess."""
        film = self.chance.choice([*self.site.films[:5], *self.site.own])
        known = [film.AccessionNumber, film.StudyInstanceUID, film.SeriesInstanceUID, film.SOPInstanceUID]
        codes = [hit.split()[1] for hit in self._hits[-5:]]
        guesses = ["LAST", "*", self.site.canaries.text("guess"), film.PatientID, str(self.study()["StudyInstanceUID"])]
        return str(self.chance.choice([*known, *known, *codes, self.chance.choice(guesses)]))

    def regions(self) -> tuple[Anatomy, str]:
        """Return an anatomy and a title to ask at."""
        anatomy = self.chance.choice(anatomies()[:20])
        return anatomy, self.chance.choice([anatomy.ae_title, anatomy.ae_title, ALL_REGIONS_AE])

    def value(self, keyword: str) -> str:
        """Return a value to match with: an original, a pseudonym, a pattern or a range."""
        film = self.chance.choice(self.site.films)
        if dictionary_VR(keyword) == "IS":
            return str(film.get(keyword) or 1)
        original = film.get(keyword)
        values = ["*", "RGN-*", "C*", "CANARY?????", "孔雀鳥*", "F", "DX", "1.2.826*", "10010101-19991231"]
        values += [str(original)] * 4 if original and dictionary_VR(keyword) != "SQ" else []
        values = [*values, *self.study().values()]
        if dictionary_VR(keyword) not in CUSTOMIZABLE_CHARSET_VR:  # no client can encode anything else
            values = [value for value in values if value.isascii()]
        return self.chance.choice(values)

    def note_hits(self, found: Found) -> None:
        self._hits += [row.StudyDescription for row in found.rows if " #" in row.get("StudyDescription", "")]

    def a_hit(self) -> str:
        return self.chance.choice(self._hits) if self._hits else "SIM ZZZZZZZZ RL #001 0.99"

    def page(self, path: str) -> None:
        """Read a page as the asker, and note where it links to."""
        content = self.site.web(path)
        self.site.decoded.append(content)
        self._links = [link.decode() for link in _LINK.findall(content)] or self._links
        self.answered["web"] += content.startswith(b"200")

    def a_link(self) -> str:
        return self.chance.choice(self._links or ["/"])

    def _originals(self) -> list[tuple[int, DataElement]]:
        """Return every value of the canary films that was put there, with the number of its film, in random order.

        Not what belongs to the query itself and is matched by no value (`SERVICE_TAGS`), nor what has few values.
        """
        wanted = set(all_tags())
        found = [
            (number, element)
            for number, film in enumerate(self.site.films)
            for element in film
            if element.tag in wanted and not element.is_empty and keyword_for_tag(element.tag) in _TABLE
        ]
        self.chance.shuffle(found)
        few = ("PatientSex", "SpecificCharacterSet", "Modality")
        return [one for one in found if one[1].keyword not in few and f"{one[1].tag:08X}" not in SERVICE_TAGS]


Way = Callable[[Walk], None]


def ordinary(walk: Walk) -> None:
    """Ask for many attributes at any level, with keys of all kinds."""
    level = walk.chance.choice(["PATIENT", "STUDY", "STUDY", "SERIES", "IMAGE", walk.site.canaries.text("level")])
    wanted = _TABLE if walk.chance.random() < 0.25 else walk.chance.sample(_TABLE, 12)
    identifier = keys(level, **{word: [] if dictionary_VR(word) == "SQ" else None for word in wanted})
    for keyword in (*IDENTIFIERS, *ASKED_OFTEN):
        identifier.add(keys("", **{keyword: ""})[keyword])
    for keyword in walk.chance.sample(ASKED_OFTEN, walk.chance.randint(0, 2)):
        identifier.add(keys("", **{keyword: walk.value(keyword)})[keyword])
    study = walk.study()
    for keyword in {"SERIES": IDENTIFIERS[1:2], "IMAGE": IDENTIFIERS[1:3]}.get(level, ()):
        identifier.add(keys("", **{keyword: study[keyword]})[keyword])
    identifier.SpecificCharacterSet = walk.chance.choice(CHARSETS)
    _, title = walk.regions()
    model = PATIENT_ROOT if level == "PATIENT" or walk.chance.random() < 0.2 else STUDY_ROOT
    walk.find("ordinary", identifier, walk.chance.choice([OURS, OURS, title]), model)


def original_key(walk: Walk) -> None:
    """Use a value of a canary film as a key: nothing may match."""
    if not walk.originals:
        return
    number, element = walk.originals.pop()
    film, made = walk.site.films[number], walk.site.pseudonymizer.uid
    level = walk.chance.choice(["STUDY", "SERIES", "IMAGE"])
    parents = {"StudyInstanceUID": made("study", film.StudyInstanceUID)} if level != "STUDY" else {}
    if level == "IMAGE":
        parents["SeriesInstanceUID"] = made("series", film.SeriesInstanceUID)
    identifier = keys(level, **parents)
    identifier.SpecificCharacterSet = film.SpecificCharacterSet
    identifier.add(element)
    if walk.find("original", identifier).rows:
        walk.matched.append(f"film {number}: {element.keyword} at {level}")


def similar(walk: Walk) -> None:
    """Ask for similar regions, again for one of the hits, or below it."""
    anatomy, title = walk.regions()
    short = walk.chance.choice(["", anatomy.short, f"{anatomy.short}+CARD" if title == ALL_REGIONS_AE else ""])
    options = walk.chance.choice(["", "", "K=3", "BY=RANK", "K=1000000"])
    text = f"SIM {walk.anchor()} {short} {options}".strip()
    if walk.chance.random() < 0.3:
        text, title = walk.a_hit(), ALL_REGIONS_AE
    keyword = walk.chance.choice(["StudyDescription", "StudyDescription", "PatientName"])
    text = f"RGN{text.replace(' ', '^')}" if keyword == "PatientName" else text
    filters = walk.chance.choice(
        [
            {},
            {},
            {"Modality": "DX"},
            {"PatientSex": "M"},
            {"StudyDate": walk.value("StudyDate")},
            {"PatientAge": "065Y"},
        ]
    )
    wanted = dict.fromkeys((*IDENTIFIERS, *ASKED_OFTEN, *walk.chance.sample(ASKED_OFTEN, 5)), "")
    found = walk.find("similar", keys("STUDY", **{**wanted, **filters, keyword: text}), title)
    walk.note_hits(found)
    for row in found.rows[:1]:
        _below(walk, row, title)


def _below(walk: Walk, row: Dataset, title: str) -> None:
    study = {"StudyInstanceUID": row.StudyInstanceUID, "StudyDescription": row.StudyDescription}
    wanted = dict.fromkeys((*IDENTIFIERS, *ASKED_OFTEN), "")
    for series in walk.find("below a hit", keys("SERIES", **{**wanted, **study}), title).rows:
        if series.get("SeriesInstanceUID"):
            image = {**wanted, **study, "SeriesInstanceUID": series.SeriesInstanceUID}
            walk.find("below a hit", keys("IMAGE", **image, AnatomicRegionSequence=[]), title)


def structured(walk: Walk) -> None:
    """Ask by the private block, sometimes with a drawn box."""
    anatomy, _ = walk.regions()
    identifier = keys("STUDY", **dict.fromkeys((*IDENTIFIERS, *ASKED_OFTEN), ""))
    block = identifier.private_block(BLOCK_GROUP, BLOCK_CREATOR, create=True)
    box = walk.chance.choice(["", "", "", "10\\10\\60\\70", walk.site.canaries.text("box")])
    for number, text in {1: walk.anchor(), 2: anatomy.short, 3: "3", 5: box}.items():
        block.add_new(number, "LO", text.split("\\"))
    walk.note_hits(walk.find("structured", identifier))


def by_region(walk: Walk) -> None:
    """Ask for the instances in which a region was found, by its code."""
    anatomy, _ = walk.regions()
    item = _code(anatomy.code_value, anatomy.coding_scheme, walk.site.canaries.text("code meaning"))
    if anatomy.laterality:
        item.AnatomicRegionModifierSequence = [_code(*SIDE_CODES[anatomy.laterality])]
    study = walk.study()
    image = {**dict.fromkeys((*IDENTIFIERS, *ASKED_OFTEN), ""), **study, "SOPInstanceUID": ""}
    walk.find("by region", keys("IMAGE", **image, AnatomicRegionSequence=[item]))


def get_film(walk: Walk) -> None:
    """Get one film by its pseudonyms or by what it was."""
    syntaxes = walk.chance.choice([STORED_SYNTAXES, STORED_SYNTAXES[:1], STORED_SYNTAXES[1:2]])
    storage = storage_contexts((*FILM_CLASSES, REPORT), syntaxes)
    keep = partial(_keep, walk)
    ended = get(walk.site.peer(), ASKER, _to_retrieve(walk), keep, storage=storage)
    walk.answered["get"] += ended.sub_operations.completed
    walk.site.decoded.append(f"{ended.status.comment} {ended.failed}".encode())


def move_film(walk: Walk) -> None:
    """Have one film moved by its pseudonyms or by what it was."""
    target = walk.chance.choice([AE_TITLE, AE_TITLE, AE_TITLE, ASKER, "NOWHERE"])
    ended = move(walk.site.peer(), ASKER, _to_retrieve(walk), target)
    walk.answered["move"] += ended.sub_operations.completed
    walk.site.decoded.append(f"{ended.status.comment} {ended.failed}".encode())


def _to_retrieve(walk: Walk) -> Dataset:
    level, depth = walk.chance.choice([("STUDY", 1), ("STUDY", 1), ("SERIES", 2), ("IMAGE", 3)])
    values = dict(list(walk.study().items())[:depth])
    if walk.chance.random() < 0.2:
        film = walk.chance.choice(walk.site.films)
        values = {keyword: film[keyword].value for keyword in values}
    return keys(level, **values)


def _keep(walk: Walk, _: Dataset, content: bytes) -> int:
    walk.site.decoded.append(content)
    walk.site.see(part10(content))
    return 0x0000


def send_to_query(walk: Walk) -> None:
    """Send a film of one's own to a region: its results go to the destination."""
    film = walk.chance.choice(walk.site.own)
    _, title = walk.regions()
    walk.site.send(film, called=title)


def annotate(walk: Walk) -> None:
    """Send a mark on a film of one's own or of others, to a region or not."""
    film = walk.chance.choice([*walk.site.own, *walk.site.films[:5]])
    box = tuple(float(value) for value in walk.chance.choice([(10, 10, 60, 70), (5, 40, 50, 90), (1, 1, 9999, 9999)]))
    anatomy, title = walk.regions()
    makers: list[Callable[[], Dataset]] = [
        lambda: report(film, box, anatomy),  # type: ignore[arg-type]
        lambda: presentation(film, box),  # type: ignore[arg-type]
        lambda: key_image(film),
    ]
    made = walk.chance.choice(makers)()
    made.SpecificCharacterSet = film.SpecificCharacterSet
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    walk.site.send(made, called=walk.chance.choice([OURS, title]))


def read_pages(walk: Walk) -> None:
    """Read pages by link and by guess, pictures and figures."""
    study, anatomy = walk.study(), walk.regions()[0]
    films = f"/studies/{study['StudyInstanceUID']}"
    film = f"{films}/{study['SOPInstanceUID']}"
    instance = f"/instances/{study['SOPInstanceUID']}"
    original = walk.chance.choice(walk.site.films)
    guess = walk.chance.choice([str(original.StudyInstanceUID), str(original.PatientID), str(original.SOPInstanceUID)])
    paths = [
        "/", films, film, f"{film}/{anatomy.short}", f"{instance}/film.png", f"{instance}/thumbnail.jpg",
        f"{instance}/{anatomy.short}.jpg", f"/open/{guess}", f"/studies/{guess}", f"/instances/{guess}/film.png",
        f"/{guess}?page={guess}", f"/?page={guess}", "/metrics", "/healthz", "/readyz",
        *(walk.a_link() for _ in range(3)),
    ]  # fmt: skip
    walk.page(walk.chance.choice(paths))


WAYS: Final[dict[str, tuple[int, Way]]] = {
    "ordinary query": (22, ordinary),
    "original as a key": (14, original_key),
    "similarity query": (24, similar),
    "structured query": (8, structured),
    "query by region": (6, by_region),
    "get": (5, get_film),
    "move": (5, move_film),
    "send to query": (2, send_to_query),
    "annotation": (2, annotate),
    "web": (12, read_pages),
}
"""The ways in, each with how often it is taken."""
ANSWERED_BY: Final[dict[str, str]] = {
    "ordinary": "ordinary query",
    "similar": "similarity query",
    "below a hit": "similarity query",
    "get": "get",
    "move": "move",
    "web": "web",
}
"""What has to come for the search to prove anything, each with the way in that it comes by."""


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item
