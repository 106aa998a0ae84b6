"""Labels in, tables out: the commands that feed and read the statistics, as an operator types them."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from sqlalchemy import text

from db.engine import Database
from tests.support.records import PSEUDONYMIZER, generation, unit_vectors
from tests.support.seed import all_found, film, seed
from tests.support.terminal import Terminal

FILMS, DIM = 4, 16
FOUND = all_found(2)


@pytest.fixture
def regionmir(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Terminal:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REGIONMIR_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("REGIONMIR_DATABASE_URL", database.url.render_as_string(hide_password=False))
    return Terminal(monkeypatch, capsys)


def named(database: Database) -> list[tuple[str, str, str, float | None]]:
    query = (
        "SELECT study_instance_uid, label, source, confidence FROM finding JOIN study ON study.pk = study_pk "
        "ORDER BY 1, 2, 3"
    )
    with database.session() as session:
        return [tuple(line) for line in session.execute(text(query))]


def test_labels_come_with_their_source_and_replace_those_of_the_same_source(
    regionmir: Terminal, database: Database
) -> None:
    seed(database, [film(n) for n in range(2)], info=generation("one", DIM, FOUND))
    one, two = "1.2.826.0.1.0", "1.2.826.0.1.1"
    table = Path("labels.csv")
    table.write_text(
        f"study_instance_uid,finding,source,confidence\n{one},Nodule,reader,0.9\n{one},nodule,model,\n{two},,,\n9.9,x,,\n"
    )
    assert regionmir.json("labels", "import", str(table)) == {"studies": 2, "unknown": 1}
    assert named(database) == [(one, "nodule", "model", None), (one, "nodule", "reader", 0.9)]
    table.write_text(f"study_instance_uid,finding\n{one},effusion\n")
    assert regionmir.json("findings", "import", str(table), "--source", "reader")["studies"] == 1
    assert named(database) == [(one, "effusion", "reader", None), (one, "nodule", "model", None)]


@pytest.mark.parametrize("confidence", ["1.5", "-0.1", "sure", "nan"])
def test_a_confidence_that_is_none_is_refused_with_its_line(regionmir: Terminal, confidence: str) -> None:
    Path("labels.csv").write_text(f"study_instance_uid,finding,confidence\n1.2,a,0.5\n1.2,b,{confidence}\n")
    assert regionmir("labels", "import", "labels.csv") == 2
    assert "line 3" in regionmir.err


def test_tables_hold_every_region_with_its_embedding_under_pseudonyms(regionmir: Terminal, database: Database) -> None:
    vectors = unit_vectors(FILMS * 2, DIM).reshape(FILMS, 2, DIM)
    seed(database, [film(n, vectors[n]) for n in range(FILMS)], info=generation("one", DIM, FOUND))
    Path("labels.csv").write_text("study_instance_uid,finding\n1.2.826.0.1.2,nodule\n")
    assert regionmir("labels", "import", "labels.csv") == 0
    assert regionmir.json("export", "--parquet", "out") == {"instances": FILMS, "regions": 2 * FILMS, "labels": 1}
    regions = pq.read_table("out/regions.parquet")
    stored = {(line["instance"], line["anatomy"]): line["embedding"] for line in regions.to_pylist()}
    for n in range(FILMS):
        pseudonym = PSEUDONYMIZER.uid("instance", f"1.2.826.0.1.{n}.1.1")
        for anatomy, vector in zip(FOUND, vectors[n], strict=True):
            np.testing.assert_allclose(stored[pseudonym, anatomy.short], vector, atol=1e-3)
    (label,) = pq.read_table("out/labels.parquet").to_pylist()
    assert (label["study"], label["label"]) == (PSEUDONYMIZER.uid("study", "1.2.826.0.1.2"), "nodule")
    manifest = json.loads(Path("out/manifest.json").read_text())
    assert (manifest["model"], manifest["films"], manifest["rows"]["regions"]) == ("one", FILMS, 2 * FILMS)
    assert regions.schema.metadata[b"regionmir.data_sha256"].decode() == manifest["data_sha256"]
    written = "".join(
        str(pq.read_table(f"out/{name}.parquet").to_pylist()) for name in ("instances", "regions", "labels")
    )
    for word in ("Canary", "REALID", "1.2.826", "2020, 1, 1"):
        assert word not in written
    assert regionmir("export", "--parquet", "out") == 2
    assert "not empty" in regionmir.err


@pytest.mark.parametrize("arguments", [[], ["--training", "a", "--parquet", "b"], ["--parquet", "out"]])
def test_an_export_of_nothing_is_refused(regionmir: Terminal, arguments: list[str]) -> None:
    assert regionmir("export", *arguments) == 2
