"""Keeping pydicom's remarks to itself."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from regionmir.core import plain_errors  # noqa: F401 - for what it does


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
