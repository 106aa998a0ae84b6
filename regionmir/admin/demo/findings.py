"""What is known of the demo's films, and how many hits share the query's finding (beside chance)."""

import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regionmir.admin.similar import SimilarAnswer
from regionmir.pixels.dicomize import MANIFEST_CSV


@dataclass(frozen=True, slots=True)
class Findings:
    """Findings by SOP Instance UID and by Study Instance UID; empty where none are known."""

    by_instance: dict[str, str]
    by_study: dict[str, str]

    def of_instance(self, uid: str) -> str:
        """Return the finding of this instance, empty where it is not known."""
        return self.by_instance.get(uid, "")


def read_findings(folder: Path) -> Findings:
    """Return what the manifests below `folder` tell (`regionmir dicomize` writes them beside the objects)."""
    rows = [row for path in sorted(folder.rglob(MANIFEST_CSV)) for row in _rows(path)]
    return Findings(
        {row["sop_instance_uid"]: row["finding"] for row in rows},
        {row["study_instance_uid"]: row["finding"] for row in rows},
    )


def shared_finding(findings: Findings, answer: SimilarAnswer) -> dict[str, Any] | None:
    """Return how many hits share the query's finding, and the share among all other labelled films (chance).

    None where the query's finding is not known. Hits without a known finding do not count.
    """
    wanted = findings.of_instance(answer.anchor)
    if not wanted:
        return None
    of_hits = {str(hit.rank): findings.by_study.get(hit.study_instance_uid, "") for hit in answer.hits}
    known = [finding for finding in of_hits.values() if finding]
    others = Counter(finding for uid, finding in findings.by_instance.items() if finding and uid != answer.anchor)
    return {
        "finding": wanted,
        "shared": sum(finding == wanted for finding in known),
        "of": len(known),
        "expected_share": round(others[wanted] / max(1, others.total()), 3),
        "of_hits": of_hits,
    }


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
