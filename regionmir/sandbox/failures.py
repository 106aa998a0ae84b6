"""Errors on their way out of a child: those that mean something outside, by name, and no others."""

from collections.abc import Mapping
from typing import Any, Final

from regionmir.core.errors import BrokenImage, InvalidBox, InvalidHeader, NotIndexable, RegionMirError, UnsupportedImage

_INDEXABLE: Final = {"UnsupportedImage": UnsupportedImage, "BrokenImage": BrokenImage}
_PLAIN: Final = {"InvalidBox": InvalidBox, "InvalidHeader": InvalidHeader}

OUT_OF_MEMORY: Final = "needs too much memory"


def written(error: BaseException) -> dict[str, Any]:
    """Return an error as values. The text of what is not ours may quote the object: only its kind is told."""
    if isinstance(error, NotIndexable):
        return {"kind": type(error).__name__, "reason": error.reason, "message": str(error)}
    if isinstance(error, RegionMirError):
        return {"kind": type(error).__name__, "message": str(error)}
    if isinstance(error, MemoryError):
        return {"kind": "BrokenImage", "reason": OUT_OF_MEMORY, "message": OUT_OF_MEMORY}
    if isinstance(error, OSError) and error.errno is not None:
        return {"kind": "OSError", "errno": error.errno}
    return {"kind": "BrokenImage", "reason": "cannot be decoded", "message": type(error).__name__}


def read(values: Mapping[str, Any]) -> Exception:
    """Return the error that these values stand for."""
    kind, message = str(values.get("kind")), str(values.get("message", ""))
    if kind in _INDEXABLE:
        reason = str(values.get("reason", ""))
        return _INDEXABLE[kind](reason, message.removeprefix(reason).removeprefix(": "))
    if kind == "OSError":
        return OSError(int(values["errno"]), "the object cannot be read")
    return _PLAIN.get(kind, RegionMirError)(message)
