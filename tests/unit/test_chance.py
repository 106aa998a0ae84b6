"""Seeds of tests that draw."""

import pytest

from tests.support.chance import seed_of_run


@pytest.fixture(autouse=True)
def _none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REGIONMIR_TEST_SEED", raising=False)


def test_short_runs_draw_the_same_and_long_ones_do_not() -> None:
    assert len({seed_of_run(long=False) for _ in range(5)}) == 1
    assert len({seed_of_run(long=True) for _ in range(5)}) > 1


@pytest.mark.parametrize("long", [False, True])
def test_a_seed_that_is_named_is_taken_and_printed(
    long: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REGIONMIR_TEST_SEED", "4711")
    assert seed_of_run(long=long) == 4711
    assert "4711" in capsys.readouterr().out
