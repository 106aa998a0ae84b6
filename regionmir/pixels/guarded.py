"""What is done with objects from outside in the sandbox: a decoder that crashes, hangs or eats memory harms only it.

Each pair is a function for callers, and the one with an underscore that a child process runs. Objects cross as Part 10
files and arrays as their bytes; errors are those of the function without a guard.
"""

from collections.abc import Collection, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, ExplicitVRLittleEndian

from regionmir import sandbox
from regionmir.core.errors import BrokenImage, NotIndexable, UnsupportedImage
from regionmir.core.geometry import Box
from regionmir.core.identifiers import Uid
from regionmir.core.rejection import TITLES, Reference, RejectionNote, read_note
from regionmir.pixels import compare, rendered, transcode
from regionmir.pixels.decode import DisplayImage, check_deflated, read_dataset
from regionmir.pixels.decode import display_image as decoded_image
from regionmir.pixels.dicomize import Film, FilmError, Naming, film_object
from regionmir.pixels.display import Window
from regionmir.pixels.layout import DEFAULT_MAX_PIXELS
from regionmir.pixels.orientation import Turn
from regionmir.pixels.quiet import broken_as, quiet_pydicom
from regionmir.sandbox import Answer

_HEAD_BYTES: Final = 144
"""Preamble and the length of the meta group (PS3.10 7.1)."""

_MAX_META_BYTES: Final = 65_536

MAX_NOTE_BYTES: Final = 64 << 20
"""Of a rejection note, inflated: three times what one with the most references needs."""


def display_image(path: Path, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> DisplayImage:
    """Return the (first) frame of a stored radiograph as it is to be seen; see `decode.display_image`."""
    answer = sandbox.shared().call(_display_image, path=str(path), max_pixels=max_pixels)
    return image_of(answer.values, answer.content)


def _display_image(path: str, max_pixels: int) -> Answer:
    image = decoded_image(read_dataset(Path(path), max_pixels=max_pixels), max_pixels=max_pixels)
    return Answer(image_values(image), image.values.data)


def image_values(image: DisplayImage) -> dict[str, Any]:
    """Return all but the pixels of an image as values that JSON can hold."""
    return {
        "shape": image.values.shape,
        "pixel_sha256": image.pixel_sha256,
        "stored_size": image.stored_size,
        "turn": [image.turn.transposed, image.turn.rows_reversed, image.turn.columns_reversed],
        "laterality_note": image.laterality_note,
    }


def image_of(values: Mapping[str, Any], content: bytes | bytearray | memoryview) -> DisplayImage:
    """Return the image of `image_values` and the bytes of its pixels."""
    rows, columns = values["stored_size"]
    return DisplayImage(
        values=np.frombuffer(content, np.float32).reshape(values["shape"]),
        pixel_sha256=values["pixel_sha256"],
        stored_size=(rows, columns),
        turn=Turn(*values["turn"]),
        laterality_note=values["laterality_note"],
    )


def frame_picture(
    path: Path,
    index: int,
    kind: Literal["JPEG", "PNG"],
    *,
    window: Window | None,
    source: Box | None,
    size: tuple[int, int] | None,
    quality: int,
    max_pixels: int,
) -> bytes:
    """Return a frame (from 0) as a JPEG or PNG; see `rendered.frame_values` and `rendered.encoded_picture`."""
    answer = sandbox.shared().call(
        _frame_picture,
        path=str(path),
        index=index,
        kind=kind,
        window=window and [window.centre, window.width, window.function],
        source=source and source.as_tuple(),
        size=size,
        quality=quality,
        max_pixels=max_pixels,
    )
    return bytes(answer.content)


def _frame_picture(
    path: str,
    index: int,
    kind: Literal["JPEG", "PNG"],
    window: list[Any] | None,
    source: list[float] | None,
    size: tuple[int, int] | None,
    quality: int,
    max_pixels: int,
) -> Answer:
    dataset = read_dataset(Path(path), max_pixels=max_pixels)
    chosen = Window(*window) if window else None
    values = rendered.frame_values(dataset, index, chosen, max_pixels=max_pixels)
    box = Box(*source) if source else None
    return Answer(content=rendered.encoded_picture(values, kind, box, size, quality))


def same_pixels_and_header(path_a: Path, path_b: Path) -> bool:
    """Say whether two stored instances are the same; see `compare`. What cannot be compared is not the same."""
    try:
        answer = sandbox.shared().call(_same_pixels_and_header, path_a=str(path_a), path_b=str(path_b))
    except BrokenImage:
        return False
    return answer.values["same"] is True


def _same_pixels_and_header(path_a: str, path_b: str) -> Answer:
    return Answer({"same": compare.same_pixels_and_header(Path(path_a), Path(path_b))})


def content_sha256(path: Path) -> str | None:
    """Return the hash of what `same_pixels_and_header` compares; None of what cannot be read. See `compare`."""
    try:
        return str(sandbox.shared().call(_content_sha256, path=str(path)).values["content_sha256"])
    except NotIndexable:
        return None


def _content_sha256(path: str) -> Answer:
    return Answer({"content_sha256": compare.content_sha256(Path(path))})


def rejection_note(path: Path) -> RejectionNote | None:
    """Return the rejection note that a stored Key Object Selection is, None where it is none or breaks its limits."""
    try:
        found = sandbox.shared().call(_rejection_note, path=str(path)).values
    except (NotIndexable, OSError):
        return None
    references = tuple(Reference(Uid(study), Uid(sop)) for study, sop in found["references"])
    return RejectionNote(TITLES[found["title"]], references) if references else None


def _rejection_note(path: str) -> Answer:
    if Path(path).stat().st_size > MAX_NOTE_BYTES:
        raise BrokenImage("a note too large")
    check_deflated(Path(path), MAX_NOTE_BYTES)
    note = read_note(Path(path))
    if note is None:
        return Answer({"title": "", "references": []})
    named = [[one.study_instance_uid, one.sop_instance_uid] for one in note.references]
    return Answer({"title": note.title.code, "references": named})


def transcoded(source: Path | bytes, target: str) -> FileDataset:
    """Return an instance in the transfer syntax `target`; see `transcode.transcode`.

    What is neither compressed nor deflated cannot grow and meets no decoder: it is converted in this process.
    """
    if not is_packed(source):
        return transcode.transcode(source if isinstance(source, Path) else BytesIO(source), target)
    if isinstance(source, Path):
        answer = sandbox.shared().call(_transcoded, path=str(source), target=str(target))
    else:
        answer = sandbox.shared().call(_transcoded, source, path="", target=str(target))
    return part10(answer)


def transcoded_to_any(source: Path, accepted: Collection[str]) -> FileDataset:
    """Return an instance in the best of the accepted transfer syntaxes; see `transcode.transcode_to_any`."""
    target = transcode.best_target(accepted)
    if target is None:
        raise UnsupportedImage("transfer syntax", "none is accepted that we can convert to")
    return transcoded(source, target)


def _transcoded(path: str, target: str, content: bytes = b"") -> Answer:
    if path:
        check_deflated(Path(path), transcode.MAX_PIXEL_BYTES)
    return written(transcode.transcode(Path(path) if path else BytesIO(content), target))


def film_of_picture(path: Path) -> bytes:
    """Return the object that `regionmir dicomize` would make of a PNG or JPEG. Raises `BrokenImage`."""
    return bytes(sandbox.shared().call(_film_of_picture, path=str(path)).content)


def _film_of_picture(path: str) -> Answer:
    try:
        made = film_object(Film(Path(path), 1, 1, 0, "the film"), Naming("UPLOAD"))
    except FilmError:
        raise BrokenImage("not a readable PNG or JPEG") from None
    file = BytesIO()
    made.save_as(file, enforce_file_format=True)
    return Answer(content=file.getbuffer())


def attributes(path: Path, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> FileDataset:
    """Return the data set of a stored instance; of a deflated one without its pixel data. See `decode.read_dataset`."""
    stored = transfer_syntax_of(path)
    if not stored.is_deflated:
        return read_dataset(path, max_pixels=max_pixels)
    found = part10(sandbox.shared().call(_attributes, path=str(path), max_pixels=max_pixels))
    found.file_meta.TransferSyntaxUID = stored
    return found


def _attributes(path: str, max_pixels: int) -> Answer:
    dataset = read_dataset(Path(path), max_pixels=max_pixels)
    dataset.pop("PixelData", None)
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian  # the same elements, not deflated
    return written(dataset)


def is_packed(source: Path | bytes) -> bool:
    """Return whether a Part 10 instance is compressed or deflated. Raises `BrokenImage`, `OSError`."""
    syntax = transfer_syntax_of(source)
    return syntax.is_encapsulated or syntax.is_deflated


def transfer_syntax_of(source: Path | bytes) -> UID:
    """Return the transfer syntax of a Part 10 instance by its meta group alone. Raises `BrokenImage`, `OSError`."""
    with source.open("rb") if isinstance(source, Path) else BytesIO(source) as file, broken_as("data set unreadable"):
        try:
            head = file.read(_HEAD_BYTES)
            group = file.read(min(int.from_bytes(head[-4:], "little"), _MAX_META_BYTES))
            return UID(dcmread(BytesIO(head + group)).file_meta.TransferSyntaxUID)
        except InvalidDicomError:
            raise BrokenImage("not DICOM") from None


def written(dataset: FileDataset) -> Answer:
    """Return an object as an answer of a child: its Part 10 file."""
    file = BytesIO()
    with quiet_pydicom():
        dataset.save_as(file, enforce_file_format=True)
    return Answer(content=file.getbuffer())


def part10(answer: Answer) -> FileDataset:
    """Return the object that `written` gave."""
    with quiet_pydicom():
        return dcmread(BytesIO(answer.content))
