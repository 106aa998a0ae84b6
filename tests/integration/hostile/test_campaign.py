"""A share of `make hostile`: every kind of bad input to a live node, the web application and the worker's reader."""

from collections.abc import Iterator

import pytest

from regionmir import sandbox
from regionmir.sandbox import Limits, Sandbox
from tests.hostile.campaign import ATTACKS, FEW, QUICK, Site, run, site
from tests.support.postgres import TestDatabases

ONE, FEW_ENOUGH, MANY = 1, 6, 25
_BOMB_S = 3.0


@pytest.fixture(scope="module")
def attacked(databases: TestDatabases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    small = Sandbox(Limits(memory_bytes=2 << 30, call_s=_BOMB_S))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sandbox, "shared", lambda: small)
        with site(databases, tmp_path_factory.mktemp("hostile")) as on:
            yield on
    small.close()


@pytest.mark.parametrize("kind", ATTACKS)
def test_no_bad_input_crashes_or_hangs_anything_and_the_node_goes_on_answering(attacked: Site, kind: str) -> None:
    inputs = FEW.get(kind, MANY if kind in QUICK else FEW_ENOUGH)
    tally = run(attacked, kind, range(inputs))
    assert tally.tried == inputs
    assert (tally.crashes, tally.hangs) == ([], [])
