"""A data set on its way in: fragments go to the disk as they come, and one bad object harms no other."""

from threading import Lock

from regionmir.archive.errors import InstanceTooLarge
from regionmir.core.errors import InvalidHeader, RegionMirError
from regionmir.core.identifiers import Uid
from regionmir.storage import FileStore, Incoming


class Arrival:
    """One data set on its way in. After the first failure the rest of it is received and dropped."""

    def __init__(self, limit_bytes: int) -> None:
        self.incoming: Incoming | None = None
        self.failure: RegionMirError | None = None
        self.announced = Uid(""), Uid("")
        """SOP Class and Instance UID, by the command."""
        self._limit_bytes = limit_bytes
        self._lock = Lock()

    def begin(
        self, store: FileStore, sop_class_uid: Uid, sop_instance_uid: Uid, transfer_syntax_uid: Uid, source_ae: str
    ) -> None:
        """Open the incoming file, or remember why not."""
        self.announced = sop_class_uid, sop_instance_uid
        try:
            self.incoming = store.receive(
                sop_class_uid=sop_class_uid,
                sop_instance_uid=sop_instance_uid,
                transfer_syntax_uid=transfer_syntax_uid,
                source_ae=source_ae,
            )
        except RegionMirError as error:
            self.failure = error

    def write(self, data: bytes | memoryview) -> None:
        """Append a part of the data set, or remember why not."""
        with self._lock:
            if self.failure is not None or self.incoming is None:
                return
            try:
                if self.incoming.dataset_bytes + len(data) > self._limit_bytes:
                    raise InstanceTooLarge(f"larger than {self._limit_bytes >> 20} MiB, nothing stored")
                self.incoming.write(data)
            except RegionMirError as error:
                self.failure = error
                self.incoming.abandon()

    def discard(self) -> None:
        """Delete what arrived, unless it was kept meanwhile. Safe to call at any time."""
        with self._lock:
            if self.incoming is not None:
                self.incoming.abandon()

    def arrived(self) -> Incoming:
        """Return the data set as it lies in `incoming`. Raises what went wrong on its way."""
        if self.failure is not None:
            raise self.failure
        if self.incoming is None:
            raise InvalidHeader("there is no data set")
        return self.incoming
