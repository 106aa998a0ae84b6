"""Errors while pydicom reads: whose they are decides what becomes of an instance."""

import errno

import pytest

from regionmir.core.errors import BrokenImage, UnsupportedImage
from regionmir.pixels.quiet import broken_as


@pytest.mark.parametrize(
    "raised", [OSError("No tag to read at file position 18"), AttributeError("PatientName"), EOFError()]
)
def test_what_pydicom_raises_on_broken_content_is_the_contents_fault_and_its_text_goes_nowhere(
    raised: Exception,
) -> None:
    with pytest.raises(BrokenImage) as told, broken_as("attributes unreadable"):
        raise raised
    assert (told.value.reason, told.value.__cause__) == ("attributes unreadable", None)
    assert str(raised) == "" or str(raised) not in str(told.value)


@pytest.mark.parametrize("raised", [OSError(errno.EIO, "Input/output error"), MemoryError(), UnsupportedImage("video")])
def test_errors_of_the_disk_of_memory_and_of_ours_stay_what_they_are(raised: BaseException) -> None:
    with pytest.raises(type(raised)) as told, broken_as("attributes unreadable"):
        raise raised
    assert told.value is raised
