"""Findings from a CSV file: by which key, and what is said of a bad one."""

from pathlib import Path

import pytest

from models.data.errors import DataError
from regionmir.admin.labels import read_labels
from regionmir.admin.training_export import ExportOptions
from regionmir.core.errors import ConfigurationError


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "labels.csv"
    file.write_text(text)
    return file


def test_the_uid_counts_before_the_accession_number(tmp_path: Path) -> None:
    rows = "1.2,,normal\n,ACC1,pneumonia\n1.3,,\n,ACC9,effusion\n"
    labels = read_labels(write(tmp_path, "sop_instance_uid,accession_number,finding\n" + rows))
    assert labels.finding("1.2", "ACC1") == "normal"
    assert labels.finding("1.9", "ACC1") == "pneumonia"
    assert labels.finding("1.3", "") == ""
    assert labels.unused == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sop_instance_uid\n1.2\n", r"row 1: lacks the columns finding"),
        ("uid,finding\n1.2,normal\n", r"row 1: lacks a column sop_instance_uid or accession_number"),
        ("sop_instance_uid,finding\n1.2,normal\n,normal\n", r"row 3: .* empty"),
        ("accession_number,finding\nDoe,normal\nDoe,pneumonia\n", r"row 3: gives another finding"),
    ],
)
def test_a_bad_label_is_named_by_its_row_and_not_by_its_patient(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_labels(write(tmp_path, text))
    assert "Doe" not in str(caught.value)


def test_the_split_of_a_patient_depends_on_nobody_else_and_keeps_to_the_shares() -> None:
    options = ExportOptions(size=0, val_percent=10, test_percent=20)
    splits = [options.split(f"RGN-{n:010d}") for n in range(2000)]
    assert splits == [ExportOptions(512, 10, 20).split(f"RGN-{n:010d}") for n in range(2000)]
    assert [round(splits.count(s) / 2000, 1) for s in ("train", "val", "test")] == [0.7, 0.1, 0.2]
    with pytest.raises(ConfigurationError, match="more than 100"):
        ExportOptions(0, 60, 50)
