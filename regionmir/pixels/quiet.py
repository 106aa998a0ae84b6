"""Keeping pydicom's remarks to itself, and its many kinds of errors apart from the disk's."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from regionmir.core import plain_errors  # noqa: F401 - for what it does
from regionmir.core.errors import BrokenImage, RegionMirError


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Keep pydicom's remarks on odd values, which may quote them, out of the logs."""
    logger = logging.getLogger("pydicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


@contextmanager
def broken_as(reason: str) -> Iterator[None]:
    """Read with pydicom, quietly; whatever it raises on what is not as it says becomes `BrokenImage` with this reason.

    Errors of ours pass, and `MemoryError`, and an `OSError` of the disk: one without a number is pydicom's, of the
    content.
    """
    with quiet_pydicom():
        try:
            yield
        except (MemoryError, RegionMirError):
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise BrokenImage(reason, type(error).__name__) from None
