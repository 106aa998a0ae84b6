"""STOW-RS: instances are filed as those of a C-STORE are, each acknowledged by itself (PS3.18 10.5)."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
from anyio import to_thread
from fastapi import APIRouter, Request
from starlette.responses import Response

from regionmir.archive.errors import NotAuthorized, SopMismatch
from regionmir.archive.filing import file_instance, read_incoming, refuse_conflict
from regionmir.archive.status import PROCESSING_FAILURE, STORE, found_in
from regionmir.core.errors import StorageFull, Transient, origin
from regionmir.core.identifiers import Uid
from regionmir.core.records import Caller, Disclosure
from regionmir.web.caller import CallerOf
from regionmir.web.dicomweb import audit
from regionmir.web.dicomweb.accept import accepted, agree, read_media_type
from regionmir.web.dicomweb.problems import RETRY_AFTER_S, NotAcceptable, Problem
from regionmir.web.dicomweb.receiving import BodyReader, Part10Writer, Received
from regionmir.web.dicomweb.service import Service, ServiceOf, base_url, instance_url, path_uid
from regionmir.web.dicomweb.tables import DICOM, DICOM_JSON, JSON, RELATED

log = structlog.get_logger(__name__)

router = APIRouter()

_MIB: Final = 1 << 20


@dataclass(slots=True)
class Tally:
    """What became of the parts of one request, as items of the response (PS3.18 I.2)."""

    stored: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, Any]] = field(default_factory=list)
    received: list[audit.Received] = field(default_factory=list)
    """What the audit trail will tell."""
    only_away: bool = True
    """Every failure may be gone in a moment."""

    @property
    def status(self) -> int:
        """Return 200 where all are stored, 202 where some are, else 409, or 503 where sending again may help."""
        if not self.failed:
            return 200
        if self.stored:
            return 202
        return 503 if self.only_away else 409

    def model(self, url: str) -> dict[str, Any]:
        """Return the response in the DICOM JSON model; `url` empty: the sender learns no pseudonym of what it sent."""
        found: dict[str, Any] = {"00081190": {"vr": "UR", "Value": [url]}} if url else {}
        if self.failed:
            found["00081198"] = {"vr": "SQ", "Value": self.failed}  # FailedSOPSequence
        if self.stored:
            found["00081199"] = {"vr": "SQ", "Value": self.stored}  # ReferencedSOPSequence
        return found


@router.post("/studies")
async def store(request: Request, service: ServiceOf, caller: CallerOf) -> Response:
    """Store instances of any study."""
    return await _store(request, service, caller, None)


@router.post("/studies/{study}")
async def store_in_study(request: Request, service: ServiceOf, caller: CallerOf, study: str) -> Response:
    """Store instances of one study."""
    return await _store(request, service, caller, path_uid(study))


async def _store(request: Request, service: Service, caller: Caller, study: Uid | None) -> Response:
    """File what the body holds as it comes. Raises before anything is read where it cannot be meant."""
    if not caller.rights.store:
        raise NotAuthorized(
            "to store, sign in as one who may write or send a token with the scope write; on the loopback the setting "
            "anonymous_store allows it"
        )
    if not agree(accepted(request), (DICOM_JSON, JSON), parts=False, alone=True):
        raise NotAcceptable(DICOM_JSON)
    kind = read_media_type(request.headers.get("content-type") or "application/octet-stream")
    if not (kind.type == DICOM or (kind.multipart and kind.inner in ("", DICOM))):
        raise Problem(415, f'send {RELATED}; type="{DICOM}"; boundary=..., each part a Part 10 file')
    tally, own = Tally(), service.archive
    base = base_url(request) if caller.disclosure is Disclosure.IDENTIFIED else ""

    def new_part() -> Part10Writer:
        return Part10Writer(own.store, own.settings.max_instance_bytes, caller.ae_title)

    body = _limited(request, own.settings.stow_max_bytes)
    try:
        if kind.multipart:
            reader = BodyReader(kind.parameters.get("boundary", ""), new_part)
            await _store_parts(reader, body, service, caller, study, base, tally)
        else:
            await _store_alone(new_part(), body, service, caller, study, base, tally)
    finally:  # what is filed stays filed, whatever happens to the rest
        await to_thread.run_sync(audit.received, service, caller, tally.received)
    url = f"{base}/studies/{study}" if base and study else f"{base}/studies" if base else ""
    headers = {"Retry-After": str(RETRY_AFTER_S)} if tally.status == 503 else {}
    log.info("STOW-RS", stored=len(tally.stored), failed=len(tally.failed), status=tally.status)
    return Response(json.dumps(tally.model(url)), tally.status, headers, DICOM_JSON)


async def _store_parts(
    reader: BodyReader,
    body: AsyncIterator[bytes],
    service: Service,
    caller: Caller,
    study: Uid | None,
    base: str,
    tally: Tally,
) -> None:
    try:
        async for data in body:
            await to_thread.run_sync(_take, reader, data, service, caller, study, base, tally)
        reader.finish()
    finally:
        await to_thread.run_sync(reader.discard)


async def _store_alone(
    part: Part10Writer,
    body: AsyncIterator[bytes],
    service: Service,
    caller: Caller,
    study: Uid | None,
    base: str,
    tally: Tally,
) -> None:
    try:
        async for data in body:
            await to_thread.run_sync(part.write, data)
        await to_thread.run_sync(_file, part.finish(), service, caller, study, base, tally)
    finally:
        part.received.arrival.discard()


def _take(
    reader: BodyReader, data: bytes, service: Service, caller: Caller, study: Uid | None, base: str, tally: Tally
) -> None:
    for received in reader.write(data):
        _file(received, service, caller, study, base, tally)


async def _limited(request: Request, limit: int) -> AsyncIterator[bytes]:
    """Give the body in pieces. Raises 413 as soon as it is known to be too large; the rest is never read."""
    too_large = Problem(413, f"the body is larger than {limit // _MIB} MiB (stow_max_bytes): send fewer at once")
    stated = request.headers.get("content-length", "")
    if stated.isdigit() and int(stated) > limit:
        raise too_large
    size = 0
    async for data in request.stream():
        size += len(data)
        if size > limit:
            raise too_large
        if data:
            yield data


def _file(received: Received, service: Service, caller: Caller, study: Uid | None, base: str, tally: Tally) -> None:
    """File one part; whatever is wrong with it stays with it."""
    item = _reference(received)
    try:
        incoming = received.arrival.arrived()
        header = read_incoming(incoming, received.sop_class_uid, received.sop_instance_uid)
        if study is not None and header.study_instance_uid != study:
            raise SopMismatch("the instance is not of the study of the path")
        archive = service.archive
        receipt = file_instance(archive, incoming, header, caller, archive.settings.ae_title)
        refuse_conflict(receipt)
    except Exception as error:
        tally.failed.append({**item, **_why(error)})
        tally.only_away = tally.only_away and isinstance(error, Transient | StorageFull)
        return
    finally:
        received.arrival.discard()
    tally.received.append(audit.received_from(header, held=receipt.outcome == "duplicate"))
    if base:
        uids = (header.study_instance_uid, header.series_instance_uid, header.sop_instance_uid)
        item["00081190"] = {"vr": "UR", "Value": [instance_url(base, *uids)]}
    tally.stored.append(item)


def _reference(received: Received) -> dict[str, Any]:
    uids = (("00081150", received.sop_class_uid), ("00081155", received.sop_instance_uid))
    return {tag: {"vr": "UI", "Value": [uid]} if uid else {"vr": "UI"} for tag, uid in uids}


def _why(error: Exception) -> dict[str, Any]:
    """Return FailureReason and ErrorComment, the same as the status of a C-STORE would say."""
    code, comment = found_in(error, STORE)
    if code == PROCESSING_FAILURE:
        log.error("STOW-RS failed", error=type(error).__name__, at=origin(error))
    return {
        "00081197": {"vr": "US", "Value": [code]},
        "00000902": {"vr": "LO", "Value": [comment[:64]]},
    }
