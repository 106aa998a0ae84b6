"""Every test that a document names as its proof exists."""

import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
DOCS = TESTS.parent / "docs"
NAMING = sorted(path for path in DOCS.rglob("*.md") if re.search(r"`[^`]*\btest_\w+", path.read_text(encoding="utf-8")))


@cache
def defined() -> frozenset[str]:
    """Return the names of all test functions."""
    sources = (path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py"))
    return frozenset(name for source in sources for name in re.findall(r"^(?:async )?def (test_\w+)", source, re.M))


def missing(document: str) -> list[str]:
    """Return which files below tests/, and which test functions, a document names in vain."""
    spans = re.findall(r"`([^`\n]+)`", document)
    files = {file for span in spans for file in re.findall(r"[\w/]*\btest_\w+\.py", span)}
    names = {name for span in spans for name in re.findall(r"\b(test_\w+)(?!\w|\.py)", span)}
    absent = [file for file in sorted(files) if not (TESTS / file.removeprefix("tests/")).is_file()]
    return absent + sorted(names - defined())


@pytest.mark.parametrize("path", NAMING, ids=lambda path: path.name)
def test_the_tests_that_a_document_names_exist(path: Path) -> None:
    assert missing(path.read_text(encoding="utf-8")) == []


def test_a_file_and_a_function_that_are_not_there_are_seen() -> None:
    document = (
        "`unit/test_docs.py`, `tests/unit/test_nothing.py`, `test_nobody_wrote_this`, `pytest tests/unit/test_docs.py`"
    )
    assert missing(document) == ["tests/unit/test_nothing.py", "test_nobody_wrote_this"]
