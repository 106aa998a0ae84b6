"""From the statements of a report (`category|yes/no|label`) to what is known of a region."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

from models.data.noise import Noise, NoiseReport
from regionmir.core.anatomy import anatomy_by_name
from regionmir.core.errors import UnknownAnatomy

FINDINGS = (
    "lung opacity",
    "pleural effusion",
    "atelectasis",
    "enlarged cardiac silhouette",
    "pulmonary edema/hazy opacity",
    "pneumothorax",
    "consolidation",
    "fluid overload/heart failure",
    "pneumonia",
)
"""The nine findings that follow-up work on Chest ImaGenome compares."""
ABNORMAL = "abnormal"
"""Beside the nine: whether the report calls the region abnormal (`nlp|yes|abnormal`) or normal (`nlp|yes|normal`)."""

Stated = Mapping[str, bool]
Statement = tuple[str, str]
"""The name of an anatomy, and a token about it."""


def region_findings(statements: Iterable[Statement], noise: NoiseReport) -> dict[int, Stated]:
    """Return by the anatomy's key what `statements` say of the nine findings and of `ABNORMAL`.

    What is not mentioned is not in the mapping: it is unknown. Stated once and denied once counts as stated.
    """
    said: dict[int, dict[str, set[bool]]] = defaultdict(lambda: defaultdict(set))
    for name, token in statements:
        meaning = _meaning(token, noise)
        if meaning is None:
            continue
        try:
            said[anatomy_by_name(name).key][meaning[0]].add(meaning[1])
        except UnknownAnatomy:
            noise.add(Noise.STATEMENT_WITHOUT_ANATOMY)
    for findings in said.values():
        noise.add(Noise.CONTRADICTION, sum(len(answers) > 1 for answers in findings.values()))
    return {
        key: _shared(tuple((finding, True in answers) for finding, answers in sorted(findings.items())))
        for key, findings in said.items()
    }


def graph_statements(attributes: Any, noise: NoiseReport) -> Iterable[Statement]:
    """Yield every statement of a scene graph's `attributes`: per region a list of tokens for each phrase."""
    for attribute in attributes if isinstance(attributes, list) else []:
        phrases = attribute.get("attributes") if isinstance(attribute, dict) else None
        if not isinstance(phrases, list):
            noise.add(Noise.MALFORMED)
            continue
        for phrase in phrases:
            for token in phrase if isinstance(phrase, list) else [phrase]:
                yield str(attribute.get("bbox_name", "")).strip(), str(token)


def _meaning(token: str, noise: NoiseReport) -> tuple[str, bool] | None:
    """Return (finding, stated or denied); None for a token that says nothing of what we look for."""
    parts = [part.strip().lower() for part in token.split("|")]
    if len(parts) != 3 or parts[1] not in ("yes", "no"):
        noise.add(Noise.MALFORMED)
        return None
    _, answer, label = parts
    if label in FINDINGS or label == ABNORMAL:
        return label, answer == "yes"
    return (ABNORMAL, False) if label == "normal" and answer == "yes" else None


@cache
def _shared(stated: tuple[tuple[str, bool], ...]) -> Stated:
    """Return one mapping for all regions of which the same is stated: there are few such sets and many regions."""
    return MappingProxyType(dict(stated))
