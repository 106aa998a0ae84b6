"""`regionmir model embed|generations|shadow|activate|rollback|retire` as an operator types them."""

from pathlib import Path

import pytest

from db import analyses, audit
from db.analyses import Judgement
from db.engine import Database
from regionmir.core.anatomy import anatomies
from regionmir.core.records import InstanceState
from tests.support.records import embedded, generation, unit_vectors
from tests.support.seed import all_found, film, seed
from tests.support.terminal import Terminal
from tests.support.untrained import save_untrained

FILMS, DIM, OTHER_DIM = 12, 64, 96


@pytest.fixture
def regionmir(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Terminal:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REGIONMIR_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("REGIONMIR_DATABASE_URL", database.url.render_as_string(hide_password=False))
    return Terminal(monkeypatch, capsys)


def look_at_all(database: Database, number: int) -> None:
    """Do the work of the index workers: random vectors for the first five anatomies."""
    with database.session() as session:
        for one in analyses.claim(session, number, FILMS, 60):
            regions = embedded(anatomies()[:5], OTHER_DIM, seed=one.instance_pk)
            said = Judgement(InstanceState.INDEXED, "", regions, "pixels", "pipeline")
            assert analyses.finish(session, number, one, said)


def test_a_model_is_embedded_compared_switched_to_gone_back_from_and_retired(
    regionmir: Terminal, database: Database, tmp_path: Path
) -> None:
    vectors = unit_vectors(FILMS * 5, DIM).reshape(FILMS, 5, DIM)
    first = seed(database, [film(n, vectors[n]) for n in range(FILMS)], info=generation("old", DIM, all_found(5)))
    folder = save_untrained(tmp_path / "new", OTHER_DIM)
    proposed = regionmir.json("model", "embed", str(folder))
    number = proposed["generation"]
    assert proposed["pending"] == FILMS
    assert regionmir("model", "activate", str(number)) == 1
    assert f"still to look at {FILMS} instances" in regionmir.err
    look_at_all(database, number)
    old, new = regionmir.json("model", "generations")
    assert (old["status"], new["status"], new["dim"], new["pending"]) == ("active", "candidate", OTHER_DIM, 0)
    assert new["folder"] == str(folder)
    assert regionmir("model", "generations", "--watch") == 0
    assert "untrained 0" in regionmir.out
    compared = regionmir.json("model", "shadow", str(number), "--questions", "8")
    assert [(one["anatomy"], one["questions"]) for one in compared] == [(a.short, 8) for a in all_found(5)]
    assert all(0 < one["overlap_at_10"] <= 1 for one in compared)
    assert regionmir("model", "shadow", str(number)) == 0
    assert "overlap@10" in regionmir.out
    assert regionmir.json("model", "activate", str(number)) == {"generation": number}
    assert regionmir.json("model", "rollback") == {"generation": first}
    assert regionmir("model", "retire", str(first), "--yes") == 1
    assert "searches use" in regionmir.err
    assert regionmir.json("model", "retire", str(number), "--yes") == {"generation": number}
    assert [one["status"] for one in regionmir.json("model", "generations")] == ["active", "retired"]
    with database.session() as session:
        kinds = {"model proposed", "model activated", "model rolled back", "model retired"}
        assert {event.kind for event in audit.listing(session, kinds=sorted(kinds))} == kinds


@pytest.mark.parametrize("command", [["embed", "nowhere"], ["activate", "9"], ["rollback"], ["retire", "9", "--yes"]])
def test_what_is_not_there_is_one_line_that_says_so(regionmir: Terminal, command: list[str]) -> None:
    assert regionmir("model", *command) == 1
    assert len(regionmir.err.splitlines()) == 1
