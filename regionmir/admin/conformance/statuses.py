"""Statuses and Error Comments, from the tables by which the node answers."""

from collections.abc import Iterable

from dicom_node.access import CALLED_AE_UNKNOWN, CALLING_AE_UNKNOWN, TOO_MANY_ASSOCIATIONS, TOO_MANY_OF_ONE_PEER
from regionmir.admin.conformance.tables import markdown_table
from regionmir.archive.status import SIMILAR, Line
from regionmir.scu.commitment import FAILURE_REASONS


def statuses(table: Iterable[Line]) -> str:
    """Return the statuses of a service in the order of their numbers."""
    rows = [(_code(line.status), line.when, _comment(line)) for line in sorted(table, key=lambda line: line.status)]
    return markdown_table(("status", "when", "Error Comment"), rows)


def similarity_statuses() -> str:
    """Return the failure statuses of similarity queries."""
    rows = [(_code(line.status), line.when) for line in sorted(SIMILAR.values(), key=lambda line: line.status)]
    return markdown_table(("status", "when"), rows)


def failure_reasons() -> str:
    """Return the Failure Reasons of storage commitment."""
    return markdown_table(
        ("Failure Reason", "when"), [(_code(reason), when) for reason, when in FAILURE_REASONS.items()]
    )


def refusals_of_associations() -> str:
    """Return why an association is rejected."""
    rows = [
        (str(one.result), str(one.source), str(one.diagnostic), one.why)
        for one in (CALLED_AE_UNKNOWN, CALLING_AE_UNKNOWN, TOO_MANY_ASSOCIATIONS, TOO_MANY_OF_ONE_PEER)
    ]
    return markdown_table(("result", "source", "reason", "when"), rows)


def _comment(line: Line) -> str:
    if line.comment:
        return f"`{line.comment}`"
    return "says what is wrong" if line.error is not None else ""


def _code(status: int) -> str:
    return f"{status:04X}"
