"""`regionmir send` and `regionmir query` as a user types them, against a node over the network."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from db import generations, instances
from db.engine import Database
from db.instances import IndexedFilm
from regionmir.admin.main import main
from regionmir.admin.similar import query_similar
from regionmir.admin.talking import CALLING_AE
from regionmir.core.errors import QueryRefused
from regionmir.core.geometry import Box
from regionmir.core.records import DetectedRegion, EmbeddedRegion
from tests.conftest import absent
from tests.support.certificates import Authority, Issued, openssl
from tests.support.films import write_film, write_films
from tests.support.peers import receiver, storescp
from tests.support.ports import free_port
from tests.support.records import generation, unit_vectors
from tests.support.running_node import RunningNode, running_node


@dataclass
class Terminal:
    """Runs `regionmir ...`; `out` and `err` are what it printed last."""

    monkeypatch: pytest.MonkeyPatch
    captured: pytest.CaptureFixture[str]
    out: str = ""
    err: str = ""

    def __call__(self, *arguments: object) -> int:
        self.monkeypatch.setattr(sys, "argv", ["regionmir", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        self.out, self.err = self.captured.readouterr()
        return int(ended.value.code or 0)

    def json(self, *arguments: object) -> Any:
        self(*arguments, "--json")
        return json.loads(self.out)


@pytest.fixture
def node(database: Database, tmp_path: Path) -> Iterator[RunningNode]:
    with running_node(database, tmp_path / "node") as running:
        yield running


@pytest.fixture
def regionmir(
    node: RunningNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Terminal:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REGIONMIR_DATA_DIR", str(tmp_path / "node"))
    monkeypatch.setenv("REGIONMIR_DATABASE_URL", node.node.database.url.render_as_string(hide_password=False))
    monkeypatch.setenv("REGIONMIR_DICOM_PORT", str(node.peer.port))
    return Terminal(monkeypatch, capsys)


def index_all(database: Database) -> str:
    """Give every waiting film one region as a worker would; return the region's short form."""
    info = generation("made up", 16)
    anatomy = info.anatomies[0]
    with database.session() as session:
        model_pk = generations.ensure_model(session, info)
    with database.session() as session:
        claimed = instances.claim(session, "test", 100, 60.0)
        for one, vector in zip(claimed, unit_vectors(len(claimed), 16), strict=True):
            region = EmbeddedRegion(DetectedRegion(anatomy, Box(40, 50, 140, 180), 0.9), vector)
            found = IndexedFilm(one, [region], one.sop_instance_uid, "test", "PA")
            instances.finish_indexed(session, [found], owner="test", model_pk=model_pk)
    return anatomy.short


def test_files_and_folders_are_sent_to_the_node_of_the_settings(regionmir: Terminal, tmp_path: Path) -> None:
    write_films(tmp_path / "in" / "deep", 3)
    single = write_film(tmp_path / "single.dcm", 9)
    (tmp_path / "in" / "notes.txt").write_text("no DICOM")
    (tmp_path / "in" / "DICOMDIR").write_bytes(b"ignored")

    told = regionmir.json("send", "in", single)

    assert told["counts"] == {
        "stored": 4, "warning": 0, "refused": 0, "failed": 0, "not DICOM": 1, "not sent": 0,
    }  # fmt: skip
    assert [one["path"] for one in told["files"] if one["result"] == "not DICOM"] == ["in/notes.txt"]
    assert regionmir("send", "in", single) == 0
    assert "4 stored, 1 not DICOM" in regionmir.out


def test_a_refusal_is_told_and_is_an_error(regionmir: Terminal, tmp_path: Path) -> None:
    write_films(tmp_path / "in", 3)

    with receiver(status=lambda event, number: 0x0000 if number == 1 else 0xA700) as peer:
        code = regionmir("send", "in", "--to", peer.peer)

    assert code == 1
    assert "0xA700" in regionmir.out
    assert "1 stored, 2 refused" in regionmir.out


def test_a_peer_that_is_away_is_told_and_is_an_error(regionmir: Terminal, tmp_path: Path) -> None:
    write_films(tmp_path / "in", 2)

    code = regionmir("send", "in", "--to", f"NOBODY@127.0.0.1:{free_port()}")

    assert code == 1
    assert "cannot be reached" in regionmir.out
    assert "2 not sent" in regionmir.out


@pytest.mark.parametrize("arguments", [["gone"], [".", "--to", "nonsense"], [".", "--calling", "A" * 17]])
def test_what_makes_no_sense_is_one_line_and_exit_code_2(regionmir: Terminal, arguments: list[str]) -> None:
    assert regionmir("send", *arguments) == 2
    assert regionmir.err.count("\n") == 1


def test_hits_are_ranked_and_drawn(regionmir: Terminal, node: RunningNode, tmp_path: Path) -> None:
    node.register(CALLING_AE)
    films = write_films(tmp_path / "films", 5)
    node.receive(*films)
    short = index_all(node.node.database)
    picture = tmp_path / "similar.png"

    told = regionmir.json("query", "--anchor", "SYN000002", "--region", short.lower(), "-k", 3, "--image", picture)

    assert told["region"] == short
    assert [hit["rank"] for hit in told["hits"]] == [1, 2, 3]
    similarities = [hit["similarity"] for hit in told["hits"]]
    assert similarities == sorted(similarities, reverse=True)
    assert {hit["patient_id"] for hit in told["hits"]} <= {"SYN-0000", "SYN-0001", "SYN-0003", "SYN-0004"}
    assert told["coverage"] == "5 of 5 indexed"
    with Image.open(picture) as drawn:
        assert drawn.width > 600

    assert regionmir("query", "--anchor", told["code"], "--region", short) == 0
    assert told["hits"][0]["study_instance_uid"] in regionmir.out


def test_a_stranger_is_answered_by_pseudonyms_and_told_how_to_get_pictures(
    regionmir: Terminal, node: RunningNode, tmp_path: Path
) -> None:
    node.receive(*write_films(tmp_path / "films", 3))
    short = index_all(node.node.database)

    answer = query_similar(node.peer, CALLING_AE, "SYN000001", short)
    code = regionmir("query", "--anchor", "SYN000001", "--region", short, "--image", tmp_path / "no.png")

    assert [hit.patient_id[:4] for hit in answer.hits] == ["RGN-", "RGN-"]
    assert code == 1
    assert f"regionmir peers add {CALLING_AE}" in regionmir.err
    assert not (tmp_path / "no.png").exists()


def test_an_unknown_anchor_and_an_unknown_region_are_told(regionmir: Terminal, node: RunningNode) -> None:
    short = index_all(node.node.database)

    assert regionmir("query", "--anchor", "4711", "--region", short) == 1
    assert "no such anchor" in regionmir.err
    assert regionmir("query", "--anchor", "4711", "--region", "NOPE") == 1
    assert "unknown region" in regionmir.err
    with pytest.raises(QueryRefused):
        query_similar(node.peer, "ANYBODY", "4711", short)


@dataclass
class Secured:
    """A node with a port for TLS alone, and what a caller needs."""

    node: RunningNode
    authority: Authority
    caller: Issued
    tls_port: int

    @property
    def files(self) -> list[object]:
        shown = ["--tls-certificate", self.caller.certificate, "--tls-key", self.caller.key]
        return ["--tls", "--tls-ca", self.authority.certificate, *shown]


@pytest.fixture
def secured(database: Database, tmp_path: Path, regionmir: Terminal) -> Iterator[Secured]:
    if openssl() is None:
        absent("openssl")
    authority, port = Authority(tmp_path / "pki"), free_port()
    ours = authority.issue("node")
    files = {"tls_certificate": ours.certificate, "tls_key": ours.key, "tls_authorities": authority.certificate}
    with running_node(database, tmp_path / "secured", dicom_tls_port=port, dicom_tls_only=True, **files) as node:
        regionmir.monkeypatch.setenv("REGIONMIR_DICOM_TLS_PORT", str(port))
        yield Secured(node, authority, authority.issue("caller"), port)


def test_films_are_sent_to_our_node_and_similar_ones_asked_for_over_tls(
    regionmir: Terminal, secured: Secured, tmp_path: Path
) -> None:
    write_films(tmp_path / "in", 3)
    told = regionmir.json("send", "in", *secured.files)
    assert told["counts"]["stored"] == 3
    short = index_all(secured.node.node.database)
    question = ["query", "--anchor", "SYN000001", "--region", short]
    assert regionmir(*question, *secured.files, "--json") == 0, regionmir.err
    assert len(json.loads(regionmir.out)["hits"]) == 2
    secured.node.register(CALLING_AE)
    assert regionmir(*question, *secured.files, "--image", tmp_path / "similar.png") == 0, regionmir.err
    assert (tmp_path / "similar.png").exists()
    named = ["--to", f"REGIONMIR@127.0.0.1:{secured.tls_port}"]
    assert regionmir(*question, *named, *secured.files) == 0
    assert regionmir("send", "in", *named) == 1, "without TLS this port does not answer"


def test_who_shows_no_certificate_or_believes_another_authority_sends_nothing(
    regionmir: Terminal, secured: Secured, tmp_path: Path
) -> None:
    write_films(tmp_path / "in", 1)
    stranger = Authority(tmp_path / "pki", "stranger").certificate
    assert regionmir("send", "in", "--tls", "--tls-ca", secured.authority.certificate) == 1
    assert regionmir("send", "in", *secured.files, "--tls-ca", stranger) == 1
    assert "over TLS" in regionmir.out
    with secured.node.node.database.session() as session:
        assert instances.listing(session) == []


def test_dcmtks_storescp_is_sent_films_over_tls(
    regionmir: Terminal, secured: Secured, tmp_path: Path, dcmtk: Path
) -> None:
    write_films(tmp_path / "in", 2)
    there, kept = secured.authority.issue("PACS"), tmp_path / "kept"
    kept.mkdir()
    tls = ["+tls", str(there.key), str(there.certificate), "+cf", str(secured.authority.certificate)]
    with storescp(dcmtk, kept, *tls) as peer:
        assert regionmir("send", "in", "--to", peer, *secured.files) == 0, regionmir.out
    assert len(list(kept.iterdir())) == 2


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--tls"], "--tls-ca"),
        (["--tls-ca", "ca.pem"], "add --tls"),
        (["--tls", "--tls-ca", "ca.pem", "--tls-key", "me.key"], "go together"),
        (["--tls", "--tls-ca", "ca.pem"], "REGIONMIR_DICOM_TLS_PORT"),
    ],
)
def test_what_is_missing_for_tls_is_said(regionmir: Terminal, arguments: list[str], why: str) -> None:
    assert regionmir("send", ".", *arguments) == 2
    assert why in regionmir.err
