"""Which transfer syntaxes and SOP classes are taken."""

import pytest
from pydicom.uid import AllTransferSyntaxes
from pynetdicom import ALL_TRANSFER_SYNTAXES
from pynetdicom.sop_class import _STORAGE_CLASSES  # type: ignore[attr-defined]

from dicom_node.contexts import SERVICE_SYNTAXES, STORAGE_SYNTAXES, is_storage, preferred_syntax

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"


def test_all_syntaxes_that_our_libraries_know_are_taken_once() -> None:
    assert set(STORAGE_SYNTAXES) >= {*AllTransferSyntaxes, *ALL_TRANSFER_SYNTAXES}
    assert len(set(STORAGE_SYNTAXES)) == len(STORAGE_SYNTAXES)


def test_explicit_is_first_and_implicit_last() -> None:
    assert (STORAGE_SYNTAXES[0], STORAGE_SYNTAXES[-1]) == (EXPLICIT, IMPLICIT)
    assert (SERVICE_SYNTAXES[0], SERVICE_SYNTAXES[-1]) == (EXPLICIT, IMPLICIT)
    assert preferred_syntax([IMPLICIT, EXPLICIT]) == EXPLICIT
    assert preferred_syntax(["1.2.3"]) is None


def test_lossless_is_preferred_to_lossy() -> None:
    assert preferred_syntax(["1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.70"]) == "1.2.840.10008.1.2.4.70"


def test_every_storage_class_is_storage() -> None:
    assert all(is_storage(uid) for uid in _STORAGE_CLASSES.values())


@pytest.mark.parametrize("uid", ["1.2.826.0.1.3680043.9.9999", "1.2.840.10008.5.1.4.1.1.999.9"])
def test_private_and_future_classes_are_storage(uid: str) -> None:
    assert is_storage(uid)


@pytest.mark.parametrize("uid", ["1.2.840.10008.5.1.4.31", "1.2.840.10008.1.20.1", "1.2.840.10008.1.1"])
def test_services_are_not_storage(uid: str) -> None:
    assert not is_storage(uid)
