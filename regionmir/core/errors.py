"""Errors that say who can do what about them. One root; workers retry `Transient` and nothing else."""


class RegionMirError(Exception):
    """Root of every error that RegionMIR raises on purpose. The message is safe to log: it never holds PHI."""


class Transient(RegionMirError):
    """Trying again later may succeed: a database, broker or peer that is away for the moment."""


class DatabaseUnavailable(Transient):
    """PostgreSQL cannot be reached or gave up; nothing was committed."""


class BrokerUnavailable(Transient):
    """Redis cannot be reached. No work is lost: reconcile queues it again from the database."""


class PeerUnavailable(Transient):
    """A DICOM peer cannot be reached, rejects for now, or ended the association before it answered."""


class PeerRefused(RegionMirError):
    """A DICOM peer rejects our association for good (unknown AE title, no common context): ask its administrator."""


class StorageUnavailable(Transient):
    """The disk cannot be written or read for another reason than being full: an I/O error, a read-only file system."""


class ObjectMissing(StorageUnavailable):
    """One object is not where it was stored; of the others that says nothing."""


class SandboxUnavailable(Transient):
    """A process to decode in cannot be started: the machine has no memory or no process left for the moment."""


class StorageFull(RegionMirError):
    """The disk (or quota) is full: free space, then send again. Nothing was acknowledged."""


class ConfigurationError(RegionMirError):
    """A setting is wrong or something needed is not installed; the message names it and what to do."""


class InvalidIdentifier(RegionMirError):
    """A value from outside is not of its DICOM form."""


class InvalidUid(InvalidIdentifier):
    """Not a DICOM UID (PS3.5 9.1)."""


class InvalidAETitle(InvalidIdentifier):
    """Not an AE title (PS3.5 6.2)."""


class InvalidHeader(RegionMirError):
    """A data set lacks what is needed to file it (a UID missing or malformed). The sender must correct it."""


class InvalidBox(RegionMirError):
    """A box of zero area or with coordinates that are not finite."""


class UnknownAnatomy(RegionMirError):
    """No anatomy has this name, short form or AE title."""


class NotIndexable(RegionMirError):
    """The instance is kept and findable but is never indexed. `reason` is a short stable word for people and SQL."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


class UnsupportedImage(NotIndexable):
    """A well-formed object that is not what we index (another modality, a lateral view): state `unsupported`."""


class BrokenImage(NotIndexable):
    """Pixel data that cannot be decoded (short, corrupt, a bomb): state `failed`."""


class QueryRefused(RegionMirError):
    """A similarity query that cannot be answered. `code` is a short stable word; the message goes to the asker."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class ResultError(RegionMirError):
    """A result that cannot be built from what there is: no region was found, or the image is in colour."""


class ModelError(RegionMirError):
    """Weights are missing, of another version or shape, or their hash differs."""


def origin(error: BaseException) -> str:
    """Return file and line of an error: its message and values may hold what a log must not."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "unknown"
