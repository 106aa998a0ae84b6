import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from regionmir.admin.capacity.constants import measured, value
from regionmir.admin.capacity.plan import Site, build_s, cores_for, plan
from regionmir.core.errors import ConfigurationError

ROOT = Path(__file__).resolve().parents[3]
SITE = Site(studies_per_day=1000, years=2, films_per_study=2, film_mb=10)


def test_films_are_counted_over_the_years_and_with_those_of_the_archive() -> None:
    assert plan(SITE).films == 1000 * 365 * 2 * 2
    assert plan(replace(SITE, archive_studies=500)).films == (1000 * 365 * 2 + 500) * 2


def test_disk_is_what_one_film_takes_times_the_films() -> None:
    found = plan(SITE)
    assert found.objects_bytes == pytest.approx(found.films * 10e6)
    assert found.hnsw_bytes == pytest.approx(found.films * 20 * value("hnsw_bytes"))
    one_film = value("film_rows_bytes") + value("rendition_rows_bytes")
    its_regions = 20 * (value("region_rows_bytes") + value("embedding_rows_bytes"))
    assert found.rows_bytes == pytest.approx(found.films * (one_film + its_regions))
    wider = plan(replace(SITE, dim=256))
    assert wider.hnsw_bytes - found.hnsw_bytes == pytest.approx(found.regions * 256)  # 128 more numbers of two bytes


def test_the_build_of_the_measured_leaf_takes_what_was_measured_and_grows_faster_than_its_rows() -> None:
    rows = value("hnsw_build_rows")
    assert build_s(rows) == pytest.approx(value("hnsw_build_s"))
    assert 10 * build_s(rows) < build_s(10 * rows) < 15 * build_s(rows)
    assert plan(SITE).extrapolated
    assert not plan(replace(SITE, studies_per_day=100)).extrapolated


def test_few_films_need_no_index() -> None:
    found = plan(replace(SITE, studies_per_day=5))
    assert (found.hnsw_bytes, found.index_build_s, found.extrapolated) == (0, 0, False)


def test_cores_carry_the_busiest_hour_at_the_utilisation_that_is_allowed() -> None:
    a_core = value("films_per_s_two_cores") / 2
    assert cores_for(a_core, 1.0) == 1
    assert cores_for(a_core, 0.5) == 2
    assert cores_for(0.0, 0.5) == 1
    busy = plan(replace(SITE, studies_per_day=1e6))
    assert busy.films_per_s == pytest.approx(1e6 * 2 * 0.15 / 3600)
    assert busy.index_cores * a_core * 0.7 >= busy.films_per_s > (busy.index_cores - 1) * a_core * 0.7
    assert busy.machines == -(-busy.index_cores // 16)


def test_costs_are_told_only_with_prices() -> None:
    assert (plan(SITE).cost_cores, plan(SITE).cost_disk) == (None, None)
    priced = plan(replace(SITE, core_price=30.0, tb_price=20.0))
    assert priced.cost_cores == priced.index_cores * 30
    assert priced.cost_disk == pytest.approx(20 * (priced.objects_bytes + priced.rows_bytes + priced.hnsw_bytes) / 1e12)


@pytest.mark.parametrize("wrong", [{"studies_per_day": 0}, {"years": -1}, {"utilisation": 0}, {"film_mb": -1}])
def test_what_no_site_can_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError):
        replace(SITE, **wrong)  # type: ignore[arg-type]


def test_each_constant_says_what_it_is_of_and_how_it_was_measured_and_the_guide_has_it() -> None:
    guide = (ROOT / "docs" / "capacity.md").read_text(encoding="utf-8")
    for one in measured().values():
        assert one.what
        assert one.how
        assert f"`{one.name}`" in guide
        assert f"{one.value:.10g}" in guide


def test_the_command_prints_the_plan_and_the_constants_for_programs() -> None:
    command = [sys.executable, "-m", "regionmir.admin", "capacity", "--studies-per-day", "1000", "--years", "2"]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    assert told["plan"]["films"] == 1000 * 365 * 2 * 2
    assert told["measured"]["hnsw_bytes"]["value"] == value("hnsw_bytes")
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "1,460,000" in shown
    refused = subprocess.run([*command[:-1], "0"], capture_output=True, text=True)
    assert refused.returncode == 2
