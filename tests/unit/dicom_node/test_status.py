"""Errors as DIMSE statuses."""

import pytest
from pynetdicom.status import (
    QR_FIND_SERVICE_CLASS_STATUS,
    QR_GET_SERVICE_CLASS_STATUS,
    QR_MOVE_SERVICE_CLASS_STATUS,
    STORAGE_SERVICE_CLASS_STATUS,
)

from dicom_node.errors import InstanceTooLarge, NotToCorrect, SopMismatch
from dicom_node.status import FIND, RETRIEVE, STORE, failure, status_of
from regionmir.core.errors import DatabaseUnavailable, InvalidHeader, StorageFull, StorageUnavailable


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (StorageFull("x"), 0xA700),
        (DatabaseUnavailable("x"), 0xA701),
        (StorageUnavailable("x"), 0xA702),
        (InstanceTooLarge("x"), 0xA703),
        (SopMismatch("x"), 0xA900),
        (InvalidHeader("x"), 0xC000),
        (NotToCorrect("x"), 0x0124),
        (KeyError("a patient's name"), 0x0110),
    ],
)
def test_every_error_of_a_store_has_its_status(error: Exception, status: int) -> None:
    found = status_of(error, STORE)
    assert found.Status == status
    assert found.ErrorComment
    assert "patient's name" not in found.ErrorComment


@pytest.mark.parametrize(
    ("table", "known"),
    [
        (STORE, STORAGE_SERVICE_CLASS_STATUS),
        (FIND, QR_FIND_SERVICE_CLASS_STATUS),
        (RETRIEVE, {**QR_GET_SERVICE_CLASS_STATUS, **QR_MOVE_SERVICE_CLASS_STATUS}),
    ],
)
def test_every_status_belongs_to_its_service(table, known) -> None:
    assert {line.status for line in table} <= set(known)


def test_a_comment_fits_lo() -> None:
    comment = failure(0xC000, "é\\\n" + "x" * 100).ErrorComment
    assert len(comment) == 64
    assert comment.startswith("???x")
    assert "ErrorComment" not in failure(0xC000)
