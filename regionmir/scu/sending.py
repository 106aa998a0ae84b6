"""One instance over one association, byte for byte where the peer takes its stored transfer syntax."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import _config
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext, build_context

from regionmir.core.errors import InvalidIdentifier, PeerUnavailable, RegionMirError
from regionmir.core.identifiers import Uid, parse_uid
from regionmir.scu.association import MAX_CONTEXTS
from regionmir.scu.status import Status, read_status

_config.STORE_SEND_CHUNKED_DATASET = True
"""A path given to `send_c_store` is sent as it lies on disk; otherwise pynetdicom decodes and encodes it again."""

FALLBACK_SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
"""What we offer beside the stored transfer syntax where we can convert, best first."""

MAX_GROUP = 1000
"""Instances sent over one association at most; their headers are read before it opens."""

_DICOMDIR = "1.2.840.10008.1.3.10"
_LAST_TAG = 0x00080018


class NotSendable(RegionMirError):
    """A file that is no DICOM instance, or lacks what a C-STORE needs."""


class NotAccepted(RegionMirError):
    """The peer accepted no presentation context in which this instance can be sent."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One instance on disk that is to be sent. `exact`: a Part 10 file whose meta group agrees with its data set.

    `place`: where it is, or what says so when its turn comes. `copied`: what is sent is what the converter makes of it,
    never the file; `sop_instance_uid` is that one's.
    """

    place: Path | Callable[[], Path]
    sop_class_uid: Uid
    sop_instance_uid: Uid
    transfer_syntax_uid: Uid
    exact: bool = True
    copied: bool = False

    @property
    def path(self) -> Path:
        """Where it is; one in a bucket is fetched now. Raises `FileNotFoundError`, `StorageUnavailable`."""
        return self.place if isinstance(self.place, Path) else self.place()


@dataclass(frozen=True, slots=True)
class MoveOriginator:
    """Who asked for a C-MOVE, told to its destination (PS3.7 9.1.1.1)."""

    ae_title: str
    message_id: int


Converter = Callable[[Outgoing, Collection[str]], Dataset]
"""Returns the instance as a data set in one of the given transfer syntaxes, or raises a `RegionMirError`."""


def read_outgoing(path: Path) -> Outgoing:
    """Return what a C-STORE of the file at `path` needs, without reading its pixels. Raises `NotSendable`."""
    try:
        with path.open("rb") as file:
            dataset = read_partial(file, _is_past_uids, force=_looks_bare(file))
        meta = dataset.file_meta
        sop_class = parse_uid(str(dataset.get("SOPClassUID") or meta.get("MediaStorageSOPClassUID", "")))
        instance = parse_uid(str(dataset.get("SOPInstanceUID") or meta.get("MediaStorageSOPInstanceUID", "")))
        declared = str(meta.get("TransferSyntaxUID", ""))
        syntax = parse_uid(declared or _guess_syntax(dataset))
    except (InvalidDicomError, InvalidIdentifier):
        raise NotSendable("not a DICOM instance") from None
    except OSError as error:
        raise NotSendable(f"cannot be read: {error.strerror}") from None
    except Exception as error:  # pydicom raises many kinds on arbitrary bytes
        raise NotSendable(f"not a DICOM instance: {type(error).__name__}") from None
    if sop_class == _DICOMDIR:
        raise NotSendable("a DICOMDIR is no instance")
    agrees = (
        declared != ""
        and sop_class == str(meta.get("MediaStorageSOPClassUID"))
        and instance == str(meta.get("MediaStorageSOPInstanceUID"))
    )
    return Outgoing(path, sop_class, instance, syntax, exact=agrees)


def context_keys(outgoing: Outgoing, *, fallback: bool) -> list[tuple[str, tuple[str, ...]]]:
    """Return (SOP class, transfer syntaxes) of each presentation context that this instance wants.

    The first has the stored transfer syntax alone, so that the peer can take it as it is. With `fallback`, the second
    has the uncompressed ones that we can convert to.
    """
    keys: list[tuple[str, tuple[str, ...]]] = [(outgoing.sop_class_uid, (outgoing.transfer_syntax_uid,))]
    if fallback:
        others = tuple(str(uid) for uid in FALLBACK_SYNTAXES if str(uid) != outgoing.transfer_syntax_uid)
        keys.append((outgoing.sop_class_uid, others))
    return keys


def sending_contexts(outgoing: Iterable[Outgoing], *, fallback: bool) -> list[PresentationContext]:
    """Return the presentation contexts that these instances want, each once."""
    wanted = dict.fromkeys(key for one in outgoing for key in context_keys(one, fallback=fallback))
    return [build_context(sop_class, list(syntaxes)) for sop_class, syntaxes in wanted]


def grouped(instances: Iterable[Outgoing], *, fallback: bool) -> Iterator[list[Outgoing]]:
    """Give the instances in their order, in groups whose presentation contexts fit one association each."""
    group: list[Outgoing] = []
    wanted: set[tuple[str, tuple[str, ...]]] = set()
    for one in instances:
        keys = set(context_keys(one, fallback=fallback))
        if group and (len(wanted | keys) > MAX_CONTEXTS or len(group) >= MAX_GROUP):
            yield group
            group, wanted = [], set()
        group.append(one)
        wanted |= keys
    if group:
        yield group


def accepted_syntaxes(opened: Association, sop_class_uid: str) -> list[str]:
    """Return the transfer syntaxes in which the peer takes instances of this SOP class from us."""
    return [
        str(context.transfer_syntax[0])
        for context in opened.accepted_contexts
        if context.abstract_syntax == sop_class_uid and context.as_scu
    ]


def send_one(
    opened: Association,
    outgoing: Outgoing,
    *,
    message_id: int = 1,
    convert: Converter | None = None,
    originator: MoveOriginator | None = None,
) -> Status:
    """Return the peer's status for one C-STORE.

    Raises `NotAccepted`, what `convert` raises, or `PeerUnavailable` where the peer ends the association or is silent.
    """
    content = _content(outgoing, accepted_syntaxes(opened, outgoing.sop_class_uid), convert)
    if not opened.is_established:
        raise PeerUnavailable("the peer ended the association")
    answer = opened.send_c_store(
        content,
        msg_id=message_id,
        originator_aet=originator.ae_title if originator else None,
        originator_id=originator.message_id if originator else None,
    )
    status = read_status(answer)
    if status is None:
        raise PeerUnavailable("the peer ended the association during a C-STORE, or did not answer it in time")
    return status


def message_ids(count: int, first: int = 1) -> Sequence[int]:
    """Return `count` message identifiers from `first` on; after 65535 comes 1 (PS3.7 9.3.1.1)."""
    return [(first - 1 + n) % 65535 + 1 for n in range(count)]


def _content(outgoing: Outgoing, accepted: Sequence[str], convert: Converter | None) -> Path | Dataset:
    if outgoing.transfer_syntax_uid in accepted and not outgoing.copied:
        return outgoing.path if outgoing.exact else _with_meta(outgoing)
    if not accepted or convert is None:
        what = f"SOP class {outgoing.sop_class_uid} in transfer syntax {outgoing.transfer_syntax_uid}"
        raise NotAccepted(f"the peer does not accept {what}")
    return convert(outgoing, accepted)


def _with_meta(outgoing: Outgoing) -> FileDataset:
    """A file without (right) meta group has to be decoded: pynetdicom takes the UIDs of a path from there."""
    dataset = dcmread(outgoing.path, force=True)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(outgoing.transfer_syntax_uid)
    return dataset


def _is_past_uids(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return int(tag) > _LAST_TAG


def _looks_bare(file: BinaryIO) -> bool:
    """Whether a file begins with an element of group 0002 or 0008: a data set without preamble."""
    start = file.read(2)
    file.seek(0)
    return start in (b"\x02\x00", b"\x08\x00", b"\x00\x08")


def _guess_syntax(dataset: Dataset) -> str:
    implicit, little = dataset.original_encoding
    if not little:
        return ExplicitVRBigEndian
    return ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
