"""pydicom's errors without their ornament, which is a bomb; importing this module changes pydicom, in this process.

Where a value deep in sequences is broken, pydicom 3.0 adds the tag and the whole traceback to the error's text at every
level (`pydicom.tag.tag_in_exception`). Each text holds the one before it twice: 30 levels, 500 bytes of an object, make
it gigabytes and minutes. Nobody here reads that text (it may quote values), so the error passes as it is.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pydicom.dataset
import pydicom.filewriter
from pydicom.tag import BaseTag


@contextmanager
def _as_it_is(_: BaseTag) -> Iterator[None]:
    yield


for _module in (pydicom.dataset, pydicom.filewriter):
    assert hasattr(_module, "tag_in_exception"), "pydicom has changed: see whether its errors still grow"
    setattr(_module, "tag_in_exception", _as_it_is)  # noqa: B010 - mypy knows no such name of a module
