"""Asking a node for similar regions as any DICOM client does: a C-FIND at `RGN_<region>` (way B)."""

import re
import time
from dataclasses import dataclass, replace

from pydicom.dataset import Dataset

from regionmir.core.anatomy import ALL_REGIONS_AE, Anatomy, anatomy_by_short
from regionmir.core.errors import QueryRefused
from regionmir.core.identifiers import AETitle
from regionmir.scu.find import find
from regionmir.scu.peer import DEFAULT_TIMEOUTS, PeerAddress, Timeouts

_HIT = re.compile(
    r"SIM (?P<code>[0-9A-Z]+) (?P<region>\S+) #(?P<rank>\d+) (?P<similarity>-?\d+(\.\d+)?)( (?P<view>.*))?"
)
_EXPLANATION = re.compile(r"SIM ! (?P<code>\S+) ?(?P<message>.*)")

_RETURN_KEYS = (
    "StudyInstanceUID", "PatientID", "PatientName", "PatientSex", "StudyDate", "AccessionNumber", "StudyComments",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class SimilarHit:
    """One similar study as the node disclosed it. `similarity`: cosine of the regions' embeddings, 2 decimals."""

    rank: int
    similarity: float
    region: str
    view: str
    study_instance_uid: str
    patient_id: str
    patient_sex: str
    study_date: str
    accession_number: str


@dataclass(frozen=True, slots=True)
class SimilarAnswer:
    """A ranked answer. `code` names it at the node; `coverage`: how much was searched, as in `412 of 430 indexed`."""

    code: str
    anchor: str
    anatomies: tuple[Anatomy, ...]
    hits: tuple[SimilarHit, ...]
    coverage: str
    seconds: float

    @property
    def anatomy(self) -> Anatomy:
        """Return the region asked for, the first of several."""
        return self.anatomies[0]

    @property
    def regions(self) -> str:
        """Return the short forms of the regions, joined by `+`."""
        return "+".join(anatomy.short for anatomy in self.anatomies)


def query_similar(
    node: PeerAddress,
    calling_ae: str,
    anchor: str,
    regions: str,
    *,
    k: int = 10,
    timeouts: Timeouts = DEFAULT_TIMEOUTS,
) -> SimilarAnswer:
    """Return the studies whose region is most like the anchor's, best first, at most `k`.

    `anchor`: accession number, UID, result-set code or LAST; `regions`: short forms such as LLLZ or
    LLLZ+RLLZ. Raises `UnknownAnatomy`, `QueryRefused` with the node's reason, `PeerUnavailable`, `PeerRefused`.
    """
    anatomies = tuple(anatomy_by_short(short) for short in regions.split("+"))
    title = anatomies[0].ae_title if len(anatomies) == 1 else ALL_REGIONS_AE
    called = replace(node, ae_title=AETitle(title))
    started = time.perf_counter()
    answer = find(called, calling_ae, _identifier(f"SIM {anchor} {regions} k={k}"), limit=k, timeouts=timeouts)
    seconds = time.perf_counter() - started
    for match in answer.matches:
        explained = _EXPLANATION.fullmatch(_text(match, "StudyDescription"))
        if explained:
            raise QueryRefused(explained["code"], _text(match, "StudyComments") or explained["message"])
    if answer.status.is_failure:
        raise QueryRefused(f"0x{answer.status.code:04X}", answer.status.comment or "the node refuses this query")
    read = [hit for match in answer.matches if (hit := _hit(match)) is not None]
    code = read[0][0] if read else ""
    coverage = _text(answer.matches[0], "StudyComments").partition(", ")[0] if answer.matches else ""
    hits = tuple(sorted((hit for _, hit in read), key=lambda hit: hit.rank))
    return SimilarAnswer(code, anchor, anatomies, hits, coverage, seconds)


def _identifier(expression: str) -> Dataset:
    identifier = Dataset()
    identifier.SpecificCharacterSet = "ISO_IR 192"
    identifier.QueryRetrieveLevel = "STUDY"
    for keyword in _RETURN_KEYS:
        setattr(identifier, keyword, None)
    identifier.StudyDescription = expression
    return identifier


def _hit(match: Dataset) -> tuple[str, SimilarHit] | None:
    """Return the result-set code and the hit of one answer, or None for what is no hit."""
    parts = _HIT.fullmatch(_text(match, "StudyDescription"))
    if parts is None:
        return None
    hit = SimilarHit(
        rank=int(parts["rank"]),
        similarity=float(parts["similarity"]),
        region=parts["region"],
        view=parts["view"] or "",
        study_instance_uid=_text(match, "StudyInstanceUID"),
        patient_id=_text(match, "PatientID"),
        patient_sex=_text(match, "PatientSex"),
        study_date=_text(match, "StudyDate"),
        accession_number=_text(match, "AccessionNumber"),
    )
    return parts["code"], hit


def _text(match: Dataset, keyword: str) -> str:
    value = match.get(keyword)
    return "" if value is None else str(value).strip()
