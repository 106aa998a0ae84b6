"""What is written down about queries: a line for operators, an audit event where identities were shown or guessed at.

Neither holds an anchor as typed, a name or an ID, save in the DICOM audit message of what was shown; a UID only where
the instances themselves were handed out.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from db import audit, query_log, retrieve
from regionmir.core.errors import QueryRefused
from regionmir.core.records import Caller, Disclosure
from regionmir.query.dicom_audit import endpoint_of, record_accessed
from regionmir.query.limits import GUESSES
from regionmir.query.request import RegionQuery
from regionmir.query.search import Answer, Hit

if TYPE_CHECKING:
    from db.engine import Session


def record_answer(session: "Session", answer: Answer, caller: Caller, *, duration_ms: float) -> None:
    """Record a similarity query in the transaction that answers it; commit before anything is sent."""
    query_log.record(
        session,
        caller_ae=caller.ae_title,
        address=caller.address,
        kind="similar",
        outcome="ok",
        hits=len(answer.hits),
        duration_ms=duration_ms,
        anatomy_pk=answer.anatomy.key,
        anchor_instance_pk=answer.anchor_instance_pk,
        result_set_code=answer.code or None,
    )
    audit_answer(session, answer, caller)


def audit_answer(session: "Session", answer: Answer, caller: Caller) -> None:
    """Record a similarity query of a caller who is told whose studies the hits are."""
    anchor = {"result_set": answer.code, "anchor_instance_pk": answer.anchor_instance_pk, "region": answer.label}
    _audit(session, caller, anchor, answer.hits)


def record_film_answer(
    session: "Session", query: RegionQuery, hits: Sequence[Hit], caller: Caller, *, duration_ms: float
) -> None:
    """Record a similarity query that started from an uploaded film; see `record_answer`."""
    query_log.record(
        session,
        caller_ae=caller.ae_title,
        address=caller.address,
        kind="similar",
        outcome="ok",
        hits=len(hits),
        duration_ms=duration_ms,
        anatomy_pk=query.anatomies[0].key,
    )
    regions = "+".join(anatomy.short for anatomy in query.anatomies)
    _audit(session, caller, {"uploaded_film": query.anchor, "region": regions}, hits)


def _audit(session: "Session", caller: Caller, detail: Mapping[str, object], hits: Sequence[Hit]) -> None:
    if caller.disclosure is Disclosure.IDENTIFIED:
        seen = {**detail, "study_pks": [hit.study_pk for hit in hits]}
        audit.record(session, "similarity query", actor=caller.actor, address=caller.address, detail=seen)


def record_shown(session: "Session", instance_pks: Sequence[int], caller: Caller, *, how: str) -> None:
    """Record that instances were shown to a caller, if it was told who they are of."""
    if caller.disclosure is Disclosure.IDENTIFIED and instance_pks:
        asker = endpoint_of(caller)
        record_accessed(session, asker, retrieve.instances_by_pk(session, instance_pks), how=how)


def record_refusal(session: "Session", error: QueryRefused, caller: Caller) -> None:
    """Record a refused similarity query; guesses at anchors are audited."""
    query_log.record(
        session,
        caller_ae=caller.ae_title,
        address=caller.address,
        kind="similar",
        outcome=error.code,
        hits=0,
        duration_ms=0.0,
    )
    if error.code in GUESSES or error.code == "rate-limited":
        audit.record(session, "anchor refused", actor=caller.actor, address=caller.address, detail={"code": error.code})


def record_find(session: "Session", caller: Caller, *, hits: int, duration_ms: float) -> None:
    """Record an ordinary query."""
    query_log.record(
        session,
        caller_ae=caller.ae_title,
        address=caller.address,
        kind="find",
        outcome="ok",
        hits=hits,
        duration_ms=duration_ms,
    )


def record_retrieve(
    session: "Session",
    caller: Caller,
    destination: str,
    disclosure: Disclosure,
    study_instance_uids: Iterable[str],
    *,
    instances: int,
) -> None:
    """Record who gets how many instances of which studies (their original UIDs, the first hundred), in which form."""
    detail = {
        "destination": destination,
        "disclosure": disclosure.value,
        "instances": instances,
        "studies": sorted(set(study_instance_uids))[:100],
    }
    audit.record(session, "retrieve", actor=caller.actor, address=caller.address, detail=detail)
