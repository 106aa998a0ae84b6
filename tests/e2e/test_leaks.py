"""Nothing that names a patient leaves for a pseudonymous AE, in whatever way it asks; run long by `make leak-test`."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread

from tests.support.canary_films import FORMS
from tests.support.chance import seed_of_run
from tests.support.end_to_end import new_instance, real_films
from tests.support.leak_site import PLAIN, Site, process_site
from tests.support.leak_walk import ANSWERED_BY, WAYS, Walk

SHORT = 150
QUERIES = int(os.environ.get("REGIONMIR_LEAK_QUERIES", SHORT))
"""Random questions; from 1,000 on every original value is used as a key besides."""
LONG = 1000
TRIES = 50
"""Questions more in each way by which nothing came: about every third retrieval brings a film."""

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.timeout(3600),
    pytest.mark.plants_leaks,  # the AE title of the films' sender is a canary; the walk itself searches these logs
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, shared_or_demo: Path | None) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("leaks")
    films = real_films(folder, shared_or_demo, PLAIN + len(FORMS))
    pixels = [dcmread(folder / "dicom" / film.file).pixel_array for film in films]
    settings = {"REGIONMIR_LOG_LEVEL": "debug", "REGIONMIR_TORCH_THREADS": "2"}
    with (
        new_instance(folder / "node", settings) as instance,
        process_site(instance, pixels, folder) as made,
    ):
        yield made


def test_no_canary_leaves_by_any_way_out(site: Site) -> None:
    seed = seed_of_run(long=QUERIES > SHORT)
    walk = Walk(site, seed)
    walk.run(QUERIES)
    walk.run_until_answered(TRIES)
    if QUERIES >= LONG:
        walk.ask_every_original()
    print(f"asked {walk.asked.total()}: {dict(walk.asked)}; rows, objects and pages: {dict(walk.answered)}")
    print(f"{len(site.canaries.texts)} canaries; {walk.searched / 2**20:.0f} MiB searched")
    assert walk.leaks == []
    assert walk.matched == [], "an original value matched as a key"
    assert set(walk.asked) >= set(WAYS)
    for way in ANSWERED_BY:
        assert walk.answered[way], f"nothing came by {way}: the search proves nothing"
