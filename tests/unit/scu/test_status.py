"""Reading what a peer answered."""

import pytest
from pydicom.dataset import Dataset

from regionmir.scu.status import Status, SubOperations, failed_uids, read_status, read_sub_operations


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (0x0000, "success"),
        (0xFF00, "pending"),
        (0xFF01, "pending"),
        (0xFE00, "cancel"),
        (0xB000, "warning"),
        (0xB007, "warning"),
        (0x0107, "warning"),
        (0xA700, "failure"),
        (0x0124, "failure"),
        (0xC001, "failure"),
    ],
)
def test_every_status_is_of_exactly_one_kind(code: int, kind: str) -> None:
    status = Status(code)

    kinds = {name: getattr(status, f"is_{name}") for name in ("success", "pending", "cancel", "warning", "failure")}

    assert [name for name, holds in kinds.items() if holds] == [kind]


def test_a_response_gives_its_status_and_comment() -> None:
    answer = Dataset()
    answer.Status = 0x0124
    answer.ErrorComment = "no right to retrieve"

    assert read_status(answer) == Status(0x0124, "no right to retrieve")
    assert str(read_status(answer)) == "0x0124 no right to retrieve"


def test_a_peer_that_went_away_gives_no_status() -> None:
    assert read_status(Dataset()) is None


def test_absent_counts_are_zero() -> None:
    answer = Dataset()
    answer.NumberOfCompletedSuboperations = 3

    assert read_sub_operations(answer) == SubOperations(remaining=0, completed=3, failed=0, warning=0)


@pytest.mark.parametrize(("value", "uids"), [(None, ()), ("1.2", ("1.2",)), (["1.2", "1.3"], ("1.2", "1.3"))])
def test_the_failed_list_holds_none_one_or_many(value: object, uids: tuple[str, ...]) -> None:
    identifier = Dataset()
    identifier.FailedSOPInstanceUIDList = value

    assert failed_uids(identifier) == uids
