"""What a URL names, as this caller may have it: stored instances, or their pseudonymous copies."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Annotated, BinaryIO, Final

from fastapi import BackgroundTasks, Depends
from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from db.retrieve import Key, StoredInstance, Wanted, copy_identities, find_instances
from regionmir.archive.copies import ONLY_FILMS, copy_of
from regionmir.archive.correction import correct, corrected
from regionmir.archive.errors import NotAuthorized
from regionmir.archive.on_demand import fetch_missing
from regionmir.core.errors import ObjectMissing, StorageUnavailable
from regionmir.core.records import Caller, CopyIdentity, Disclosure, PatientValues
from regionmir.deid.copies import encoded, may_be_copied
from regionmir.pixels.guarded import attributes, transcoded
from regionmir.pixels.layout import is_decodable
from regionmir.pixels.quiet import quiet_pydicom
from regionmir.pixels.transcode import TARGETS, best_target
from regionmir.web.caller import CallerOf
from regionmir.web.dicomweb import audit
from regionmir.web.dicomweb.accept import ANY_SYNTAX
from regionmir.web.dicomweb.problems import NotFound, Problem
from regionmir.web.dicomweb.service import Service, ServiceOf, path_uid

MAX_INSTANCES: Final = 65_535
"""As many as a C-GET sends."""

_CHUNK_BYTES: Final = 1 << 20
_KEYS: Final[tuple[Key, ...]] = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")


@dataclass(frozen=True, slots=True)
class Held:
    """One instance. `identity`: whose its copy says that it is; None gives the instance itself."""

    service: Service
    stored: StoredInstance
    identity: CopyIdentity | None

    @property
    def path(self) -> Path:
        """Return where the object is, fetched now if need be. Raises `StorageUnavailable`, `StorageFull`."""
        try:
            return self.service.archive.store.path(self.stored.storage_key)
        except FileNotFoundError as error:
            raise _unreadable(error) from None

    @property
    def uids(self) -> tuple[str, str, str]:
        """Return the UIDs of study, series and instance as the caller knows them."""
        if self.identity is None:
            return self.stored.study_instance_uid, self.stored.series_instance_uid, self.stored.sop_instance_uid
        copy = self.identity
        return copy.study_instance_uid, copy.series_instance_uid, copy.sop_instance_uid

    def header(self) -> FileDataset:
        """Return all but Pixel Data and what follows them."""
        if self.identity is not None:
            return self.dataset()
        if self._is_deflated:
            return self._attributes()
        with opened(self.path) as file, quiet_pydicom():
            header = dcmread(file, stop_before_pixels=True)
            if self.stored.corrected is not None:
                correct(header, self.stored.corrected)
            return header

    def dataset(self) -> FileDataset:
        """Return the instance, or its copy, in the transfer syntax that it has. Raises as `copy_of` does."""
        if self.identity is None and self._is_deflated:
            return self._converted(ExplicitVRLittleEndian)
        with quiet_pydicom():
            if self.stored.corrected is not None and self.identity is None:
                return self._corrected(self.stored.corrected)
            if self.identity is None:
                with opened(self.path) as file:
                    return dcmread(file)
            return dcmread(BytesIO(self._copy()))

    def syntax(self, accepted: Sequence[str]) -> UID | None:
        """Return the transfer syntax to give to a client that accepts these, None where it can have none of them.

        Nothing accepted means Explicit VR Little Endian, the default of `application/dicom` (PS3.18 8.7.3.5).
        """
        stored = UID(self.stored.transfer_syntax_uid)
        wanted = tuple(accepted) or (ExplicitVRLittleEndian,)
        if ANY_SYNTAX in wanted or stored in wanted:
            return stored
        return best_target(wanted) if not stored.is_encapsulated or is_decodable(stored) else None

    def encoded(self, syntax: UID) -> tuple[UID, Iterator[bytes]]:
        """Return the Part 10 file in pieces, and the transfer syntax that it is in.

        That is `syntax`; but a copy of compressed frames that hid bits is native. What is stored in `syntax` leaves
        byte for byte. Raises before the first piece where it cannot be converted.
        """
        if self.identity is not None:
            return self._copy_in(syntax)
        if self.stored.corrected is not None:
            return syntax, iter((self._corrected_in(syntax, self.stored.corrected),))
        if syntax == UID(self.stored.transfer_syntax_uid):
            return syntax, _pieces(self.path)
        return syntax, iter((encoded(self._converted(syntax)).getvalue(),))

    @property
    def _is_deflated(self) -> bool:
        return UID(self.stored.transfer_syntax_uid).is_deflated

    def _attributes(self) -> FileDataset:
        try:
            return attributes(self.path, max_pixels=self.service.archive.settings.max_pixels)
        except OSError as error:
            raise _unreadable(error) from None

    def _converted(self, syntax: UID) -> FileDataset:
        try:
            return transcoded(self.path, syntax)
        except OSError as error:
            raise _unreadable(error) from None

    def _corrected(self, values: PatientValues) -> FileDataset:
        """Return the instance with the values of the patient whose it is."""
        try:
            return corrected(self.path, values, self.service.archive.settings.ae_title)
        except OSError as error:
            raise _unreadable(error) from None

    def _corrected_in(self, syntax: UID, values: PatientValues) -> bytes:
        made = encoded(self._corrected(values)).getvalue()
        if syntax == UID(self.stored.transfer_syntax_uid):
            return made
        return encoded(transcoded(made, syntax)).getvalue()

    def _copy_in(self, syntax: UID) -> tuple[UID, Iterator[bytes]]:
        copy = self._copy()
        has = _syntax_of(copy)
        if has == syntax or syntax not in TARGETS:
            return has, iter((copy,))
        return syntax, iter((encoded(transcoded(copy, syntax)).getvalue(),))

    def _copy(self) -> bytes:
        """Return the copy as a Part 10 file; kept in memory, as viewers ask for one in many requests."""
        assert self.identity is not None
        key = (self.stored.storage_key, self.identity)
        kept = self.service.copies.get(key)
        if kept is None:
            try:
                with self.service.decoding:
                    made = encoded(copy_of(self.service.archive, self.path, self.identity)).getvalue()
            except OSError as error:
                raise _unreadable(error) from None
            kept = self.service.copies.put(key, made)
        return kept


@dataclass(frozen=True, slots=True)
class Holding:
    """What was found: instances that the caller may have, and how many it may not."""

    instances: Sequence[Held]
    kept_back: int = 0


@dataclass(frozen=True, slots=True)
class Asking:
    """A request to retrieve: who asks whom, and what is done once the answer has been sent."""

    service: Service
    caller: Caller
    after: BackgroundTasks


def _asking(service: ServiceOf, caller: CallerOf, after: BackgroundTasks) -> Asking:
    return Asking(service, caller, after)


AskingOf = Annotated[Asking, Depends(_asking)]
"""A route's parameter of this type is what `hold` needs to know of a request."""


def hold(asking: Asking, uids: Collection[str], *, record: bool = True) -> Holding:
    """Return what a path of one to three UIDs names, as this caller sees it, and write down who gets it.

    Raises `BadRequest` for what is no UID, `NotAuthorized` for callers without the right, or where nothing of it may
    leave as a copy, `NotFound` where there is nothing. `record` False: pictures for anonymous callers.
    """
    service, caller = asking.service, asking.caller
    if not caller.rights.retrieve:
        raise NotAuthorized("to retrieve, sign in or send a token with the scope read")
    wanted = Wanted({key: [path_uid(uid)] for key, uid in zip(_KEYS, uids, strict=False)})
    pseudonymous = caller.disclosure is Disclosure.PSEUDONYMOUS
    fetch_missing(service.archive, wanted, caller.disclosure)
    with service.archive.database.session() as session:
        found = find_instances(session, wanted, caller.disclosure, limit=MAX_INSTANCES + 1)
        if len(found) > MAX_INSTANCES:
            raise Problem(413, f"more than {MAX_INSTANCES} instances; retrieve series by series")
        allowed = [one for one in found if not pseudonymous or _may_leave(one)]
        leaving = [one for one in allowed if one.whole]
        identities = copy_identities(session, [one.pk for one in leaving]) if pseudonymous else {}
        if leaving and (record or not pseudonymous):
            audit.begins(session, service, caller, leaving)
            asking.after.add_task(audit.sent, service, caller, leaving)
    if not found:
        raise NotFound
    if not allowed:
        raise NotAuthorized(f"without sign-in, {ONLY_FILMS}")
    if not leaving:
        raise Problem(410, "its objects are no longer kept here; retrieve them from the PACS that they came from")
    held = [Held(service, one, identities.get(one.pk)) for one in leaving]
    return Holding(held, len(found) - len(leaving))


def _may_leave(one: StoredInstance) -> bool:
    return may_be_copied(one.sop_class_uid, one.burned_in_annotation)


def opened(path: Path) -> BinaryIO:
    """Return a stored object to read. Raises `ObjectMissing`, `StorageUnavailable`."""
    try:
        return path.open("rb")
    except OSError as error:
        raise _unreadable(error) from None


def _unreadable(error: OSError) -> StorageUnavailable:
    kind = ObjectMissing if isinstance(error, FileNotFoundError) else StorageUnavailable
    return kind("a stored object cannot be read")


def _pieces(path: Path) -> Iterator[bytes]:
    file = opened(path)

    def read() -> Iterator[bytes]:
        with file:
            while piece := file.read(_CHUNK_BYTES):
                yield piece

    return read()


def _syntax_of(part10: bytes) -> UID:
    return UID(dcmread(BytesIO(part10), specific_tags=[], stop_before_pixels=True).file_meta.TransferSyntaxUID)
