"""`regionmir conformance`, and that docs/conformance.md is what it prints."""

from pathlib import Path

from typer.testing import CliRunner

from regionmir.admin.conformance.statement import statement
from regionmir.admin.conformance.tables import markdown_table
from regionmir.admin.main import app

DOCUMENT = Path(__file__).parents[3] / "docs" / "conformance.md"


def test_the_document_is_what_the_command_prints() -> None:
    printed = CliRunner().invoke(app, ["conformance"])
    assert printed.stdout == statement()
    again = "regionmir conformance --out docs/conformance.md"
    assert DOCUMENT.read_text(encoding="utf-8") == printed.stdout, again


def test_a_copy_that_no_longer_holds_is_named_with_its_line(tmp_path: Path) -> None:
    copy = tmp_path / "conformance.md"
    assert CliRunner().invoke(app, ["conformance", "--out", str(copy)]).exit_code == 0
    assert CliRunner().invoke(app, ["conformance", "--check", str(copy)]).exit_code == 0
    copy.write_text(statement().replace("## 1 Overview", "## 1 Another"), encoding="utf-8")
    checked = CliRunner().invoke(app, ["conformance", "--check", str(copy)])
    assert checked.exit_code == 1
    line = statement().splitlines().index("## 1 Overview") + 1
    assert f"differs from line {line}" in checked.stderr


def test_nothing_is_left_to_fill_in_and_every_status_is_there() -> None:
    text = statement()
    assert "$" not in text
    assert all(f"| {code} |" in text for code in ("0000", "A801", "B000", "C10D", "0112"))


def test_a_bar_in_a_cell_does_not_end_it() -> None:
    assert markdown_table(("a", "b"), [("1|2", "3")]).splitlines()[-1] == "| 1\\|2 | 3 |"
