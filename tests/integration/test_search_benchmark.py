"""The benchmark of the search, small: what it fills, asks and tells is right. Its times mean nothing here."""

from pathlib import Path

import numpy as np
import psycopg
import pytest

from regionmir.core.anatomy import anatomy_by_short
from tests.benchmarks import leaves, libraries, search
from tests.benchmarks.spectra import fitted, spectra
from tests.support.postgres import TestDatabases

ROWS = 3000
CARD, RL = anatomy_by_short("CARD"), anatomy_by_short("RL")


def test_generated_vectors_use_as_many_directions_as_real_ones() -> None:
    for anatomy, real in list(spectra().items())[::6]:
        found = leaves.vectors(anatomy, 2000)
        assert fitted(found).participation_ratio == pytest.approx(real.participation_ratio, rel=leaves.TOLERANCE)
        assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-2)


def test_a_leaf_holds_what_was_generated(databases: TestDatabases) -> None:
    url = databases.migrated()
    found = leaves.vectors(CARD, 300)
    known = leaves.columns(found)
    model_pk = leaves.register(url, (CARD,), found.shape[1])
    with psycopg.connect(url) as connection:
        leaves.fill_leaf(connection, model_pk, CARD, found, known)
        rows = connection.execute(
            "SELECT region_pk, patient_pk, study_date - DATE '2020-01-01', age_years, sex, view, v::text "
            "FROM embedding ORDER BY region_pk"
        ).fetchall()
    databases.drop(url)
    assert [row[0] for row in rows] == list(range(300))
    assert [row[1] for row in rows] == known.patient.tolist()
    assert [row[2] for row in rows] == known.day.tolist()
    assert [row[3] for row in rows] == known.age.tolist()
    assert [(row[4], row[5]) for row in rows] == [
        (sex.decode(), view.decode()) for sex, view in zip(known.sex, known.view, strict=True)
    ]
    stored = np.array([[float(value) for value in row[6].strip("[]").split(",")] for row in rows])
    np.testing.assert_allclose(stored, found, atol=1e-4)


def test_every_question_is_answered_in_full_and_nearly_as_comparing_all_does(
    databases: TestDatabases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("db.embeddings.EXACT_UP_TO", 400)
    url = databases.migrated()
    size, measured = search.measure(url, (CARD, RL), ROWS, 4)
    databases.drop(url)
    assert list(measured) == [question.name for question in search.QUESTIONS]
    for name, found in measured.items():
        assert len(found.times) >= 8, name
        assert np.mean(found.recall) >= 0.97, name
    ids = {figure.id: figure for figure in search.as_figures("1m", 2 * ROWS, size, measured)}
    assert {"sql_p95_1m", "recall_1m", "recall_by_id_1m", "sql_p95_1m_view_0.1", "recall_1m_far_25"} <= set(ids)
    assert ids["index_bytes_1m"].ours > 256


def test_the_large_run_draws_how_it_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.benchmarks import large

    found = search.Measured([3.0, 4.0], [1.0, 1.0], [1.0, 1.0])
    monkeypatch.setattr(search, "measure", lambda *_: (search.Size(60.0, 570, 330), {"": found}))
    monkeypatch.setattr(search, "library_figures", lambda *_: [])
    monkeypatch.setattr(large, "throw_away_server", _no_server)
    monkeypatch.setattr(large, "TestDatabases", lambda _: type("None", (), {"migrated": lambda self: ""})())
    figures = {figure.id: figure for figure in large.run((50_000, 500_000), tmp_path)}
    assert (tmp_path / "search-growth.png").stat().st_size > 1000
    assert figures["sql_p95_10m"].ours == 4.0
    assert figures["build_s_10m"].met
    assert "build_s_1m" not in figures


def test_a_library_that_compares_all_finds_all_and_one_that_is_absent_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(libraries, "_MAKERS", {"nowhere_to_be_found": ("none", _Exact), "numpy": ("exact", _Exact)})
    compared: dict[str, libraries.Compared] = {}
    found = leaves.vectors(CARD, 500)
    libraries.compare(found, [3, 77], leaves.columns(found).patient, 10, 40, compared)
    assert list(compared) == ["exact"]
    assert compared["exact"].by_id == [1.0, 1.0]
    assert compared["exact"].bytes == [4 * found.shape[1]]
    assert "no figure of nowhere_to_be_found" in capsys.readouterr().out


class _Exact:
    def __init__(self, _module: object, vectors: leaves.Floats, _ef: int) -> None:
        self._vectors, self.bytes = vectors, float(vectors.nbytes)

    def ask(self, vector: leaves.Floats, count: int) -> list[int]:
        return [int(n) for n in np.argsort(-(self._vectors @ vector))[:count]]


class _no_server:  # noqa: N801 - stands for a context manager
    url = ""

    def __init__(self, _folder: Path) -> None: ...
    def __enter__(self) -> "_no_server":
        return self

    def __exit__(self, *_: object) -> None: ...
