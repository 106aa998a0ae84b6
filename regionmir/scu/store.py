"""C-STORE of many files: one association for all that fit it, an outcome for every file (PS3.4 Annex B)."""

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import structlog
from pynetdicom.association import Association

from regionmir.core.errors import PeerUnavailable, RegionMirError
from regionmir.scu.association import NoCommonContext, close_association, open_association
from regionmir.scu.peer import DEFAULT_TIMEOUTS, PeerAddress, Timeouts
from regionmir.scu.sending import (
    Converter,
    MoveOriginator,
    NotAccepted,
    NotSendable,
    Outgoing,
    grouped,
    read_outgoing,
    send_one,
    sending_contexts,
)
from regionmir.scu.status import Status

log = structlog.get_logger(__name__)

ATTEMPTS = 2
"""Associations tried for one file when the peer ends them while it is sent."""


MAX_LOST_IN_A_ROW = 3
"""Instances that may fail one after the other because the peer ends the association, before we give up."""


class Result(StrEnum):
    """What became of one file."""

    STORED = "stored"
    WARNING = "warning"
    REFUSED = "refused"
    FAILED = "failed"
    NOT_DICOM = "not DICOM"


@dataclass(frozen=True, slots=True)
class Sending:
    """How instances are sent: what converts them where needed, and for whom."""

    convert: Converter | None = None
    originator: MoveOriginator | None = None


@dataclass(frozen=True, slots=True)
class SentFile:
    """The outcome for one file; `status` where the peer answered, `detail` for people.

    `path` is None of one whose place is told when its turn comes.
    """

    path: Path | None
    result: Result
    detail: str = ""
    status: Status | None = None
    sop_instance_uid: str | None = None


def store(
    peer: PeerAddress,
    calling_ae: str,
    paths: Iterable[Path],
    *,
    convert: Converter | None = None,
    timeouts: Timeouts = DEFAULT_TIMEOUTS,
) -> Iterator[SentFile]:
    """Send the files and give one outcome for each, in the order in which they are done.

    A file goes as its bytes are, in its stored transfer syntax; with `convert`, also in another that the peer takes.
    When the peer ends the association, the rest goes over a new one. Raises `PeerUnavailable` or `PeerRefused` where
    none can be opened; the files without an outcome by then were not sent.
    """
    unreadable: list[SentFile] = []
    for outcome in store_instances(peer, calling_ae, _readable(paths, unreadable), convert=convert, timeouts=timeouts):
        yield from _drained(unreadable)
        yield outcome
    yield from _drained(unreadable)


def store_instances(
    peer: PeerAddress,
    calling_ae: str,
    instances: Iterable[Outgoing],
    *,
    convert: Converter | None = None,
    originator: MoveOriginator | None = None,
    timeouts: Timeouts = DEFAULT_TIMEOUTS,
) -> Generator[SentFile, None, None]:
    """Send instances whose headers are known already; see `store`. `originator`: who asked for it by C-MOVE."""
    for group in grouped(instances, fallback=convert is not None):
        yield from _store_group(peer, calling_ae, group, Sending(convert, originator), timeouts)


def _readable(paths: Iterable[Path], unreadable: list[SentFile]) -> Iterator[Outgoing]:
    for path in paths:
        try:
            yield read_outgoing(path)
        except NotSendable as error:
            unreadable.append(SentFile(path, Result.NOT_DICOM, str(error)))


def _drained(outcomes: list[SentFile]) -> Iterator[SentFile]:
    yield from outcomes
    outcomes.clear()


def _store_group(
    peer: PeerAddress, calling_ae: str, group: list[Outgoing], sending: Sending, timeouts: Timeouts
) -> Iterator[SentFile]:
    contexts = sending_contexts(group, fallback=sending.convert is not None)
    opened: Association | None = None
    done = lost = 0
    try:
        for one in group:
            for tried in range(1, ATTEMPTS + 1):
                if opened is None or not opened.is_established:
                    opened = open_association(peer, calling_ae, contexts, timeouts=timeouts)
                outcome = attempt(opened, one, done % 65535 + 1, sending)
                if outcome is not None:
                    break
                log.warning("peer ended the association", peer=str(peer), tried=tried)
                close_association(opened)
            lost = lost + 1 if outcome is None else 0
            done += 1
            yield outcome or _outcome(one, Result.FAILED, "the peer ended the association while this was sent")
            if lost >= MAX_LOST_IN_A_ROW:
                raise PeerUnavailable(f"{peer} ends every association")
    except NoCommonContext as error:
        yield from (_outcome(one, Result.REFUSED, str(error)) for one in group[done:])
    finally:
        if opened is not None:
            close_association(opened)


def attempt(opened: Association, one: Outgoing, message_id: int, sending: Sending) -> SentFile | None:
    """Return the outcome for one instance, or None where the association ended before there was one."""
    try:
        status = send_one(opened, one, message_id=message_id, convert=sending.convert, originator=sending.originator)
    except PeerUnavailable:
        return None
    except NotAccepted as error:
        return _outcome(one, Result.REFUSED, str(error))
    except (RegionMirError, OSError, ValueError, AttributeError) as error:  # cannot be read, converted or encoded
        return _outcome(one, Result.FAILED, str(error) if isinstance(error, RegionMirError) else type(error).__name__)
    result = Result.STORED if status.is_success else Result.WARNING if status.is_warning else Result.REFUSED
    return _outcome(one, result, "" if status.is_success else str(status), status)


def _outcome(one: Outgoing, result: Result, detail: str, status: Status | None = None) -> SentFile:
    path = one.place if isinstance(one.place, Path) else None
    return SentFile(path, result, detail, status, one.sop_instance_uid)
