"""A STOW-RS body on its way in: parts go to the disk as they come, and one bad part harms no other (PS3.18 10.5)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, Final

from pydicom import dcmread
from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError

from regionmir.archive.arrival import Arrival
from regionmir.core.errors import InvalidHeader, InvalidIdentifier
from regionmir.core.identifiers import parse_uid
from regionmir.pixels.quiet import quiet_pydicom
from regionmir.storage import FileStore
from regionmir.storage.part10 import HEAD_BYTES, dataset_offset
from regionmir.web.dicomweb.accept import read_media_type
from regionmir.web.dicomweb.problems import BadRequest
from regionmir.web.dicomweb.tables import DICOM

MAX_META_BYTES: Final = 65_536
"""Of preamble and File Meta Information together."""

MAX_BOUNDARY: Final = 128
"""Characters; more than the 70 of RFC 2046 5.1.1, as Orthanc sends 73."""

MAX_PARTS: Final = 10_000
MAX_HEADER_BYTES: Final = 4096


@dataclass(slots=True)
class Received:
    """One part that is complete. Its UIDs are those of its File Meta Information, empty where it has none."""

    arrival: Arrival
    sop_class_uid: str = ""
    sop_instance_uid: str = ""


class Part10Writer:
    """Takes a Part 10 file in pieces: reads its head, then streams its data set to the store."""

    def __init__(self, store: FileStore, limit_bytes: int, source_ae: str) -> None:
        self.received = Received(Arrival(limit_bytes))
        self._store = store
        self._source_ae = source_ae
        self._head = bytearray()
        self._in_head = True

    def write(self, data: bytes) -> None:
        """Take in a piece. What is wrong stays with the part: see `Arrival.failure`."""
        if not self._in_head:
            self.received.arrival.write(data)
            return
        self._head += data
        if len(self._head) >= HEAD_BYTES:
            self._read_head()

    def finish(self) -> Received:
        """Return the part, whole or with what was wrong with it."""
        if self._in_head and self.received.arrival.failure is None:
            self.fail("no DICOM file: it ends within its File Meta Information")
        return self.received

    def _read_head(self) -> None:
        try:
            offset = dataset_offset(bytes(self._head[:HEAD_BYTES]))
        except ValueError:
            self.fail("no DICOM file (PS3.10): it has no preamble or no length of its File Meta Information")
            return
        if offset > MAX_META_BYTES:
            self.fail("the File Meta Information is too long")
        elif len(self._head) >= offset:
            self._begin(bytes(self._head[:offset]))
            self._in_head = False
            self.received.arrival.write(memoryview(self._head)[offset:].tobytes())
            self._head.clear()

    def _begin(self, head: bytes) -> None:
        arrival, received = self.received.arrival, self.received
        try:
            with quiet_pydicom():
                meta = dcmread(BytesIO(head)).file_meta
                texts = (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID)
            sop_class, sop_instance, syntax = (parse_uid(str(text)) for text in texts)
        except InvalidIdentifier:
            arrival.failure = InvalidHeader("a UID of the File Meta Information is malformed")
            return
        except Exception:  # pydicom raises many kinds on arbitrary bytes
            arrival.failure = InvalidHeader("the File Meta Information is incomplete")
            return
        received.sop_class_uid, received.sop_instance_uid = sop_class, sop_instance
        arrival.begin(self._store, sop_class, sop_instance, syntax, self._source_ae)

    def fail(self, why: str) -> None:
        """Refuse the part; the rest of it is passed over."""
        self.received.arrival.failure = InvalidHeader(why)
        self._in_head = False
        self._head.clear()


@dataclass(slots=True)
class _Headers:
    name: bytearray = field(default_factory=bytearray)
    value: bytearray = field(default_factory=bytearray)
    content_type: str = ""


class BodyReader:
    """Splits a `multipart/related` body into parts. `new_part` makes what takes in each of them."""

    def __init__(self, boundary: str, new_part: Callable[[], Part10Writer]) -> None:
        if not boundary or len(boundary) > MAX_BOUNDARY or not boundary.isascii():
            raise BadRequest("the Content-Type has no usable boundary")
        self._new_part = new_part
        self._headers = _Headers()
        self._part: Part10Writer | None = None
        self._complete: list[Received] = []
        self._count = 0
        self._ended = False
        callbacks: dict[str, Any] = {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._headers.name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._headers.value.extend(data[start:end]),
            "on_header_end": self._header,
            "on_headers_finished": self._start_content,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._finish,
        }
        try:
            self._parser = MultipartParser(boundary, callbacks, max_header_size=MAX_HEADER_BYTES)  # type: ignore[arg-type]
        except Exception:  # it raises several kinds on a boundary
            raise BadRequest("the Content-Type has no usable boundary") from None

    def write(self, data: bytes) -> Iterator[Received]:
        """Take in a piece of the body and give the parts that it completes. Raises `BadRequest`."""
        try:
            self._parser.write(data)
        except FormParserError:
            raise BadRequest("the multipart body is malformed; see RFC 2046 5.1") from None
        complete, self._complete = self._complete, []
        yield from complete

    def finish(self) -> None:
        """Raises `BadRequest` where the body ended too early or had no part."""
        if not self._ended:
            raise BadRequest("the multipart body ends before its last boundary")
        if not self._count:
            raise BadRequest("the multipart body has no part")

    def discard(self) -> None:
        """Delete a part of which only a piece has come. Safe to call at any time."""
        waiting = [] if self._part is None else [self._part.received]
        for received in (*waiting, *self._complete):
            received.arrival.discard()

    def _begin(self) -> None:
        self._count += 1
        if self._count > MAX_PARTS:
            raise BadRequest(f"more than {MAX_PARTS} parts; send them in several requests")
        self._headers, self._part = _Headers(), self._new_part()

    def _header(self) -> None:
        headers = self._headers
        if headers.name.lower() == b"content-type":
            headers.content_type = headers.value.decode("latin-1")
        headers.name.clear()
        headers.value.clear()

    def _start_content(self) -> None:
        assert self._part is not None
        stated = self._headers.content_type
        if stated and read_media_type(stated).type != DICOM:
            self._part.fail(f"the part is not {DICOM}")

    def _data(self, data: bytes, start: int, end: int) -> None:
        assert self._part is not None
        self._part.write(data[start:end])

    def _end(self) -> None:
        assert self._part is not None
        self._complete.append(self._part.finish())
        self._part = None

    def _finish(self) -> None:
        self._ended = True
