"""Our readers of bytes from outside. Each takes any bytes; an error that is not one of ours is a crash.

`objects` decodes in this process, so that a fuzzer sees what its bytes reach. The processes decode in the sandbox.
"""

import tempfile
from collections.abc import Callable
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch
from urllib.parse import parse_qsl

from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import dcmread
from pynetdicom.dsutils import decode

from db.find import Level
from dicom_node.retrieve_identifier import read_wanted
from regionmir import sandbox
from regionmir.core.errors import NotIndexable, QueryRefused, RegionMirError
from regionmir.core.header import read_header
from regionmir.core.identifiers import Uid, parse_ae_title, parse_uid
from regionmir.core.records import CopyIdentity, Disclosure
from regionmir.deid.copies import pseudonymous_copy
from regionmir.deid.identity import Substitution
from regionmir.pixels.decode import display_image, read_dataset
from regionmir.pixels.eligibility import check_frontal_chest
from regionmir.pixels.quiet import quiet_pydicom
from regionmir.pixels.transcode import transcode
from regionmir.query.annotations import read_annotation
from regionmir.query.block import read_expression
from regionmir.query.keys import Keys, read_keys, values_of
from regionmir.query.matching import Root, read_request
from regionmir.query.narrowing import narrowing
from regionmir.query.request import parse_token
from regionmir.sandbox import Answer, Sandbox
from regionmir.storage import FileStore
from regionmir.storage.part10 import dataset_offset
from regionmir.storage.scan import scan_dataset
from regionmir.web.dicomweb.accept import agree, read_accept, read_media_type
from regionmir.web.dicomweb.frames import read_numbers
from regionmir.web.dicomweb.receiving import BodyReader, Part10Writer
from regionmir.web.dicomweb.rendering import read_look
from regionmir.web.dicomweb.tables import DICOM
from regionmir.web.dicomweb.url_query import read_url

MAX_PIXELS: Final = 1 << 22
"""Less than in service, so that many inputs are tried in a short time."""

BOUNDARY: Final = "edge"
_LEVELS: Final = (Level.STUDY, Level.SERIES, Level.IMAGE)
_EXPLICIT: Final = "1.2.840.10008.1.2.1"
_GET: Final = "1.2.840.10008.5.1.4.1.2.2.3"

IDENTITY: Final = CopyIdentity("P", Uid("1.2.3"), Uid("1.2.3.4"), Uid("1.2.3.4.5"), 7)


def header(data: bytes) -> None:
    """Read what the node reads of an object that arrives."""
    try:
        offset = dataset_offset(data[:144])
    except ValueError:
        offset = 0
    for syntax in {_syntax(data), _EXPLICIT}:
        with_offset = BytesIO(data)
        with_offset.seek(offset)
        try:
            read_header(scan_dataset(with_offset, syntax), Uid(syntax))
        except RegionMirError:
            continue


def objects(data: bytes) -> None:
    """Do all that a worker, a viewer or a peer may have us do with a stored object."""
    path = _scratch() / "object.dcm"
    path.write_bytes(data)
    try:
        dataset = read_dataset(path, max_pixels=MAX_PIXELS)
    except RegionMirError:
        return
    for use in (
        lambda: check_frontal_chest(dataset),
        lambda: display_image(dataset, max_pixels=MAX_PIXELS),
        lambda: read_annotation(dataset),
        lambda: transcode(path, _EXPLICIT, max_pixel_bytes=MAX_PIXELS),
        lambda: _copied(path),
    ):
        try:
            use()
        except RegionMirError:
            continue


def annotation(data: bytes) -> None:
    """Read a report, presentation state or key object selection."""
    path = _scratch() / "annotation.dcm"
    path.write_bytes(data)
    try:
        read_annotation(read_dataset(path, max_pixels=MAX_PIXELS))
    except NotIndexable:
        return


def identifier(data: bytes) -> None:
    """Read an Identifier as the node does: keys, what they match, a search expression, what to retrieve."""
    with quiet_pydicom():
        try:
            asked = decode(BytesIO(data), False, True)
            keys = read_keys(asked)
        except RegionMirError:
            keys = Keys()
        except Exception:  # arbitrary bytes of the peer: dicom_node.identifier answers them with A900
            return
        for disclosure in Disclosure:
            for root in Root:
                _asked(keys, root, disclosure)
        try:
            read_wanted(asked, _GET)
        except RegionMirError:
            return


def token(data: bytes) -> None:
    """Read a search expression, a UID and an AE title."""
    text = data.decode("utf-8", "replace")
    for called in ("RGN_ALL", "RGN_LLLZ", "REGIONMIR"):
        try:
            asked = parse_token("\\".join(values_of(text)), called)
            assert len(asked.anatomies) <= 29
        except RegionMirError:
            continue
    for parse in (parse_uid, parse_ae_title):
        try:
            parsed = parse(text)
        except RegionMirError:
            continue
        assert parsed.isascii()
        assert len(parsed) <= 64


def http(data: bytes) -> None:
    """Read a body of several parts, and parameters of a URL."""
    store = FileStore(_scratch() / "store")
    reader = BodyReader(BOUNDARY, lambda: Part10Writer(store, 1 << 20, "FUZZ"))
    try:
        for at in range(0, len(data), 777):
            for received in reader.write(data[at : at + 777]):
                received.arrival.discard()
        reader.finish()
    except RegionMirError:
        pass
    finally:
        reader.discard()
    url(data)


def url(data: bytes) -> None:
    """Read parameters of a search, of a rendered resource, frame numbers and media types."""
    text = data.decode("utf-8", "replace")
    pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=None)
    for read in (
        lambda: [read_url(pairs, level, {}, disclosure) for level in _LEVELS for disclosure in Disclosure],
        lambda: read_look(dict(pairs), thumbnail=False),
        lambda: read_numbers(text),
        lambda: agree(read_accept(text), (DICOM,), parts=True, alone=True),
        lambda: read_media_type(text),
    ):
        try:
            read()
        except RegionMirError:
            continue


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    "objects": objects,
    "header": header,
    "annotation": annotation,
    "identifier": identifier,
    "token": token,
    "http": http,
}


def _asked(keys: Keys, root: Root, disclosure: Disclosure) -> None:
    try:
        request = read_request(keys, root, disclosure)
        narrowing(keys, disclosure)
        read_expression(keys, request, "RGN_ALL")
    except (RegionMirError, QueryRefused):
        return


class _HereSandbox(Sandbox):
    """Does in this process what the children do in service: a fuzzer follows it there."""

    def call(self, operation: Callable[..., Answer], content: bytes | memoryview = b"", **arguments: Any) -> Answer:
        return operation(**arguments, **({"content": bytes(content)} if content else {}))


def _copied(path: Path) -> Dataset:
    with patch.object(sandbox, "shared", _HereSandbox):
        return pseudonymous_copy(path, Substitution(IDENTITY, lambda kind, uid: Uid("1.2.3")), "REGIONMIR")


def _syntax(data: bytes) -> str:
    with quiet_pydicom():
        try:
            return parse_uid(str(dcmread(BytesIO(data[:65_536]), stop_before_pixels=True).file_meta.TransferSyntaxUID))
        except (InvalidDicomError, RegionMirError):
            return _EXPLICIT
        except Exception:  # only asked which syntax it would be read in
            return _EXPLICIT


@cache
def _scratch() -> Path:
    return Path(tempfile.mkdtemp(prefix="regionmir-hostile-"))
