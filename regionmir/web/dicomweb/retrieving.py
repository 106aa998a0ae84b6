"""WADO-RS: instances, metadata, frames, pictures and bulk data (PS3.18 10.4)."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import TypeVar

import structlog
from fastapi import APIRouter, Request
from pydicom.uid import UID
from starlette.responses import Response, StreamingResponse

from regionmir.core.errors import NotIndexable, ObjectMissing, RegionMirError, StorageFull, Transient, origin
from regionmir.pixels.quiet import broken_as, quiet_pydicom
from regionmir.pixels.rendered import NO_SUCH_FRAME
from regionmir.web.dicomweb import frames as pixel_frames
from regionmir.web.dicomweb.accept import Agreed, accepted, agree
from regionmir.web.dicomweb.holding import Asking, AskingOf, Held, Holding, hold
from regionmir.web.dicomweb.model import PIXEL_DATA, Model, bulk_element, is_bulk_path, model_of, with_pixels
from regionmir.web.dicomweb.multipart import KEEP, Part, related, single
from regionmir.web.dicomweb.problems import BadRequest, NotAcceptable, NotFound, Problem
from regionmir.web.dicomweb.rendering import Look, read_look, render
from regionmir.web.dicomweb.service import base_url, instance_url
from regionmir.web.dicomweb.tables import DICOM, DICOM_JSON, JPEG, JSON, OCTETS, PNG

log = structlog.get_logger(__name__)

router = APIRouter()

_STUDY = "/studies/{study}"
_SERIES = _STUDY + "/series/{series}"
_INSTANCE = _SERIES + "/instances/{instance}"
_PARTIAL = 206

_Wanted = TypeVar("_Wanted")
_Made = TypeVar("_Made")


@router.get(_STUDY)
def study_objects(request: Request, asking: AskingOf, study: str) -> Response:
    """Retrieve a study."""
    return _objects(request, hold(asking, [study]))


@router.get(_SERIES)
def series_objects(request: Request, asking: AskingOf, study: str, series: str) -> Response:
    """Retrieve a series."""
    return _objects(request, hold(asking, [study, series]))


@router.get(_INSTANCE)
def instance_object(request: Request, asking: AskingOf, study: str, series: str, instance: str) -> Response:
    """Retrieve an instance."""
    return _objects(request, hold(asking, [study, series, instance]))


@router.get(_STUDY + "/metadata")
def study_metadata(request: Request, asking: AskingOf, study: str) -> Response:
    """Retrieve the metadata of a study's instances."""
    return _metadata(request, asking, [study])


@router.get(_SERIES + "/metadata")
def series_metadata(request: Request, asking: AskingOf, study: str, series: str) -> Response:
    """Retrieve the metadata of a series' instances."""
    return _metadata(request, asking, [study, series])


@router.get(_INSTANCE + "/metadata")
def instance_metadata(request: Request, asking: AskingOf, study: str, series: str, instance: str) -> Response:
    """Retrieve the metadata of an instance."""
    return _metadata(request, asking, [study, series, instance])


@router.get(_INSTANCE + "/frames/{frames}")
def instance_frames(
    request: Request, asking: AskingOf, study: str, series: str, instance: str, frames: str
) -> Response:
    """Retrieve frames of an instance."""
    numbers = pixel_frames.read_numbers(frames)
    held = _one(asking, [study, series, instance])
    return _pixels(request, held, numbers)


@router.get(_INSTANCE + "/bulkdata/{attribute:path}")
def instance_bulkdata(
    request: Request, asking: AskingOf, study: str, series: str, instance: str, attribute: str
) -> Response:
    """Retrieve one binary value of an instance; Pixel Data come as their frames."""
    if not is_bulk_path(attribute):
        raise BadRequest("bulk data are named by tag, such as bulkdata/7FE00010; take the address from the metadata")
    held = _one(asking, [study, series, instance])
    if attribute == PIXEL_DATA:
        return _pixels(request, held, None)
    agreed = _octets(request)
    with quiet_pydicom():
        element = bulk_element(held.dataset(), attribute)
        if element is None or not isinstance(element.value, bytes):
            raise NotFound("this instance has no such bulk data; its metadata say which it has")
        part = Part(OCTETS, [element.value])
    return related([part], OCTETS) if agreed.multipart else single(part)


@router.get(_STUDY + "/rendered")
@router.get(_STUDY + "/thumbnail")
def study_picture(request: Request, asking: AskingOf, study: str) -> Response:
    """Retrieve a picture of a study: its first instance that can be drawn, or in parts all of them."""
    return _pictures(request, asking, [study], [1])


@router.get(_SERIES + "/rendered")
@router.get(_SERIES + "/thumbnail")
def series_picture(request: Request, asking: AskingOf, study: str, series: str) -> Response:
    """Retrieve a picture of a series, as of a study."""
    return _pictures(request, asking, [study, series], [1])


@router.get(_INSTANCE + "/rendered")
@router.get(_INSTANCE + "/thumbnail")
def instance_picture(request: Request, asking: AskingOf, study: str, series: str, instance: str) -> Response:
    """Retrieve a picture of an instance: of its first frame."""
    return _pictures(request, asking, [study, series, instance], [1])


@router.get(_INSTANCE + "/frames/{frames}/rendered")
@router.get(_INSTANCE + "/frames/{frames}/thumbnail")
def frame_pictures(request: Request, asking: AskingOf, study: str, series: str, instance: str, frames: str) -> Response:
    """Retrieve pictures of frames."""
    return _pictures(request, asking, [study, series, instance], pixel_frames.read_numbers(frames))


def _one(asking: Asking, uids: Sequence[str]) -> Held:
    return hold(asking, uids, record=False).instances[0]


def _objects(request: Request, holding: Holding) -> Response:
    """Answer instances; what cannot be given in an accepted transfer syntax is left out and told by 206."""
    agreed = agree(accepted(request), (DICOM,), parts=True, alone=len(holding.instances) == 1)
    for kind in agreed:
        chosen = [(held, syntax) for held in holding.instances if (syntax := held.syntax(kind.syntaxes))]
        if not chosen:
            continue
        if not kind.multipart:
            return single(_part(*chosen[0]))
        parts = _each(lambda one: _part(*one), chosen)
        first = next(parts)
        whole = len(chosen) == len(holding.instances) and not holding.kept_back
        return related(chain([first], parts), DICOM, 200 if whole else _PARTIAL)
    raise NotAcceptable(f'multipart/related; type="{DICOM}"; transfer-syntax=* (or an uncompressed one)')


def _part(held: Held, syntax: UID) -> Part:
    given, content = held.encoded(syntax)
    return Part(f"{DICOM}; transfer-syntax={given}", content)


def _each(make: Callable[[_Wanted], _Made], wanted: Iterable[_Wanted]) -> Iterator[_Made]:
    """Make something of each instance as its turn comes; one of which it cannot be made is left out.

    Raises why it cannot be made of the first where it can of none, and at once what keeps the others back, too.
    """
    failure: RegionMirError | None = None
    made = False
    for one in wanted:
        try:
            done = make(one)
        except RegionMirError as error:
            if not _is_its_own(error):
                raise
            log.warning("instance left out", error=type(error).__name__, at=origin(error))
            failure = failure or error
            continue
        made = True
        yield done
    if failure is not None and not made:
        raise failure


def _is_its_own(error: RegionMirError) -> bool:
    """Say whether only this instance cannot be given; the database, the store or a full disk keeps all back."""
    return isinstance(error, ObjectMissing) or not isinstance(error, (Transient, StorageFull))


def _metadata(request: Request, asking: Asking, uids: Sequence[str]) -> Response:
    if not agree(accepted(request), (DICOM_JSON, JSON), parts=False, alone=True):
        raise NotAcceptable(DICOM_JSON)
    holding = hold(asking, uids)
    base = base_url(request)
    models = _each(lambda held: _model(held, base), holding.instances)
    first = next(models)
    status = _PARTIAL if holding.kept_back else 200
    return StreamingResponse(_json_list(chain([first], models)), status, media_type=DICOM_JSON)


def _json_list(models: Iterable[Model]) -> Iterator[str]:
    for n, model in enumerate(models):
        yield ("," if n else "[") + json.dumps(model, ensure_ascii=False, allow_nan=False)
    yield "]"


def _model(held: Held, base: str) -> Model:
    """Return the metadata of an instance, with its address and the transfer syntax that its pixels are in.

    Raises `BrokenImage`, `NoCopy`, `StorageUnavailable`.
    """
    url = instance_url(base, *held.uids)
    bulk_url = f"{url}/bulkdata"
    with broken_as("attributes unreadable"):
        header = held.header()
        syntax = header.file_meta.TransferSyntaxUID
        model = model_of(header, bulk_url)
        if "Rows" in header:
            model = with_pixels(model, bulk_url, encapsulated=syntax.is_encapsulated)
    model["00083002"] = {"vr": "UI", "Value": [str(syntax)]}  # AvailableTransferSyntaxUID
    model["00081190"] = {"vr": "UR", "Value": [url]}
    return dict(sorted(model.items()))


def _octets(request: Request) -> Agreed:
    agreed = agree(accepted(request), (OCTETS,), parts=True, alone=True)
    if not agreed:
        raise NotAcceptable(f'multipart/related; type="{OCTETS}", or {OCTETS}')
    return agreed[0]


def _pixels(request: Request, held: Held, numbers: Sequence[int] | None) -> Response:
    """Answer frames; without numbers all of them, native ones in one part."""
    agreed = agree(accepted(request), pixel_frames.OFFERED, parts=True, alone=True)
    dataset = held.dataset()
    kind = pixel_frames.choose(agreed, UID(dataset.file_meta.TransferSyntaxUID))
    found = pixel_frames.frames_of(dataset, numbers, kind)
    if numbers is None and not kind.stored:
        found = [b"".join(found)]
    parts = [Part(kind.content_type, [frame]) for frame in found]
    if kind.multipart:
        return related(parts, kind.media_type)
    if len(parts) > 1:
        raise NotAcceptable(f'multipart/related; type="{kind.media_type}" for more than one frame')
    return single(parts[0])


def _pictures(request: Request, asking: Asking, uids: Sequence[str], numbers: Sequence[int]) -> Response:
    look = read_look(dict(request.query_params), thumbnail=request.url.path.endswith("/thumbnail"))
    ranges = accepted(request)
    alone = agree(ranges, (JPEG, PNG), parts=False, alone=True)
    agreed = alone or agree(ranges, (JPEG, PNG), parts=True, alone=False)
    if not agreed:
        raise NotAcceptable(f"{JPEG}, {PNG}")
    holding = hold(asking, uids, record=False)
    wanted = [(held, number) for held in holding.instances for number in numbers]
    kind = agreed[0]
    if kind.multipart or len(numbers) > 1:
        made = [Part(kind.media_type, [picture]) for picture in _drawn(wanted, look, kind)]
        return related(made, kind.media_type)
    return Response(next(_drawn(wanted, look, kind)), headers=KEEP, media_type=kind.media_type)


def _drawn(wanted: Sequence[tuple[Held, int]], look: Look, kind: Agreed) -> Iterator[bytes]:
    """Give the pictures that can be drawn. Raises why the first cannot where none can."""
    failure: NotIndexable | None = None
    drawn = False
    for held, number in wanted:
        try:
            picture = render(held, number, look, kind)
        except NotIndexable as error:
            failure = failure or error
            continue
        drawn = True
        yield picture
    if failure is not None and failure.reason == NO_SUCH_FRAME:
        raise NotFound("this instance has not so many frames")
    if not drawn:
        raise Problem(422, f"this cannot be drawn: {failure.reason}" if failure else "there is nothing to draw")
