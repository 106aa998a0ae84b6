"""Answers of a disturbed system beside those of one that was left in peace with the same films."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from regionmir.admin.demo.instance import Instance
from regionmir.admin.similar import query_similar
from regionmir.core.errors import QueryRefused
from regionmir.core.identifiers import AETitle
from regionmir.scu.peer import PeerAddress
from regionmir.scu.store import Result, store
from tests.faults.films import Film
from tests.faults.sending import SENDER
from tests.faults.world import READER, SETTINGS, register
from tests.support.end_to_end import new_instance, wait_until_final

REGIONS = ("RL", "LLLZ", "CARD")
_K = 10
_ROUNDING = 0.011
"""Similarities come with two decimals."""

Ranked = Sequence[tuple[str, float]]
"""Picture and similarity of each hit, best first; several films may show one picture."""


def answers(instance: Instance, films: Sequence[Film], anchors: Sequence[Film]) -> dict[str, Ranked]:
    """Return what is answered for each anchor and region, by name; a refusal is an answer too."""
    pictures = {film.study_instance_uid: film.picture for film in films}
    node = PeerAddress(AETitle("REGIONMIR"), "127.0.0.1", instance.dicom_port)
    found: dict[str, Ranked] = {}
    for anchor in anchors:
        for region in REGIONS:
            try:
                hits = query_similar(node, READER, anchor.accession_number, region, k=_K).hits
                ranked = [(pictures[hit.study_instance_uid], hit.similarity) for hit in hits]
            except QueryRefused as refusal:
                ranked = [(refusal.code, 0.0)]
            found[f"{anchor.accession_number} {region}"] = ranked
    return found


def undisturbed_answers(folder: Path, films: Sequence[Film], anchors: Sequence[Film]) -> dict[str, Ranked]:
    """Return the answers of a fresh system that gets the same films and is left in peace."""
    with new_instance(folder / "data", SETTINGS) as instance:
        register(instance, 1)
        peer = PeerAddress(AETitle("REGIONMIR"), "127.0.0.1", instance.dicom_port)
        outcomes = [outcome.result for outcome in store(peer, SENDER, [film.path for film in films])]
        assert outcomes == [Result.STORED] * len(films)
        counts = wait_until_final(instance, len(films), 60 + 5.0 * len(films))
        assert counts["indexed"] == len(films)
        return answers(instance, films, anchors)


def differences(ours: Mapping[str, Ranked], theirs: Mapping[str, Ranked]) -> list[str]:
    """Return the names of the answers that are not the same."""
    return [name for name in theirs if not same(ours[name], theirs[name])]


def same(ours: Ranked, theirs: Ranked) -> bool:
    """Return whether two answers say the same: similarities at each rank, and pictures above the last one's ties."""
    close = all(abs(a - b) <= _ROUNDING for (_, a), (_, b) in zip(ours, theirs, strict=False))
    return close and len(ours) == len(theirs) and _certain(ours, theirs) and _certain(theirs, ours)


def _certain(ranked: Ranked, other: Ranked) -> bool:
    """Return whether every picture that is clearly better than the last hit is in the other answer too."""
    there: Collection[str] = {picture for picture, _ in other}
    return all(picture in there for picture, similarity in ranked if similarity > ranked[-1][1] + 2 * _ROUNDING)
