"""What looks like a patient is taken out of every log line, and nothing else is."""

import logging

import pytest
import structlog

from regionmir.core.logging import configure_logging
from regionmir.core.scrubbing import MASK, scrub, scrubbed
from regionmir.core.settings import Settings


@pytest.mark.parametrize(
    "text",
    [
        "cannot file Sommer^Anna Maria of the morning list",
        "Müller-Lüdenscheidt^Karl^^Dr.",
        "山田^太郎",
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
        "(0010,0010) Patient's Name                      PN: 'Sommer'",
        "D: (0010,0020) LO [4711]                     #  4, 1 PatientID",
        "(0010, 0030) Patient's Birth Date                DA: '19500101'",
        'duplicate key value\nDETAIL:  Key (patient_id, issuer)=(4711, H) already exists.',
        "psycopg.errors.CheckViolation: Failing row contains (1, 4711, Sommer, 1950-01-01).",
        "[SQL: insert into patient]\n[parameters: {'name': 'Sommer', 'patient_id': '4711'}]",
    ],
)  # fmt: skip
def test_a_patient_in_a_text_is_removed(text: str) -> None:
    clean = scrubbed(text)
    assert MASK in clean
    for part in ("Sommer", "Anna", "Karl", "4711", "1950", "山田", "太郎", "Yamada", "やまだ"):
        assert part not in clean


@pytest.mark.parametrize(
    "text",
    [
        "instance received",
        "1.2.840.10008.5.1.4.1.1.1.1 from 192.0.2.1:104",
        "C-FIND answered: 0xFF00, 12 rows; RGN_LLLZ k=10",
        "/srv/regionmir/objects/ab/cd/abcd_1.2.840.10008.1.2.dcm:17",
        "2^16 pixels",
        "the database is not available (OperationalError 57P01)",
    ],
)
def test_what_is_no_patient_is_left_as_it_is(text: str) -> None:
    assert scrubbed(text) == text


def test_values_are_removed_by_their_key_however_deep() -> None:
    event = {"event": "x", "patient_id": "4711", "detail": {"AccessionNumber": "A1", "n": 3, "of": ["Roe^Jane", 2]}}
    assert scrub(None, "info", event) == {
        "event": "x", "patient_id": MASK, "detail": {"AccessionNumber": MASK, "n": 3, "of": [MASK, 2]},
    }  # fmt: skip


def test_the_logs_of_a_process_are_scrubbed_also_of_libraries_and_tracebacks(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before, handlers = structlog.get_config(), list(logging.root.handlers)
    level = logging.root.level
    try:
        configure_logging(Settings(log_json=True), "test")
        logging.getLogger("some.library").warning("odd value %s", "Sommer^Anna")
        try:
            raise ValueError("bad: (0010,0010) PN: 'Sommer'")
        except ValueError:
            structlog.get_logger("regionmir.test").exception("failed", who="Winter^Emil")
    finally:
        structlog.contextvars.clear_contextvars()
        structlog.configure(**before)
        logging.root.handlers = handlers
        logging.root.setLevel(level)
    written = capsys.readouterr().err
    assert "odd value" in written
    assert "ValueError" in written
    assert not [name for name in ("Sommer", "Anna", "Winter", "Emil") if name in written]
