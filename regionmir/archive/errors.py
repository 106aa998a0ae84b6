"""What is refused to those outside; `regionmir.archive.status` and `dicom_node.status` say with which status."""

from regionmir.core.errors import RegionMirError


class NotAuthorized(RegionMirError):
    """The caller has not the right to do this."""


class NotToCorrect(NotAuthorized):
    """Another version of the instance (or of its study) is stored, and the sender may not correct it; or it was deleted
    for good."""


class InstanceTooLarge(RegionMirError):
    """The instance is larger than `max_instance_bytes`."""


class SopMismatch(RegionMirError):
    """The data set is not the instance that the C-STORE command names."""


class InvalidCommand(RegionMirError):
    """A C-STORE command without usable UIDs."""
