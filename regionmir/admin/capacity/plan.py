"""From studies a day to machines, disk and time. What a hospital says of itself is a `Site`; the rest is measured."""

import math
from dataclasses import dataclass

from db.embeddings import ANN_THRESHOLD
from regionmir.admin.capacity.constants import value
from regionmir.core.errors import ConfigurationError

_DAYS, _HOUR_S, _TB = 365, 3600, 1e12

_MEASURED_DIM, _NUMBER_BYTES = 128, 2
"""Vectors of the measurements, and what one number takes, in the heap and again in the index."""


@dataclass(frozen=True, slots=True)
class Site:
    """What is known of a hospital, or assumed: none of it is measured here.

    `film_mb`: mean size of an object as it is stored, 10^6 bytes. `busiest_hour_share`: of a day's films.
    `utilisation`: how busy the index workers may be in that hour. Prices are for a month; None: no cost is told.
    """

    studies_per_day: float
    years: float
    archive_studies: int = 0
    films_per_study: float = 2.0
    film_mb: float = 10.0
    regions: int = 20
    dim: int = 128
    busiest_hour_share: float = 0.15
    utilisation: float = 0.7
    cores_per_machine: int = 16
    days_to_fill: float = 14.0
    core_price: float | None = None
    tb_price: float | None = None

    def __post_init__(self) -> None:
        wrong = [name for name in self.__slots__ if (found := getattr(self, name)) is not None and found < 0]
        if self.studies_per_day <= 0 or self.years <= 0 or wrong:
            raise ConfigurationError("studies a day and years must be above zero, and nothing below")
        if not 0 < self.busiest_hour_share <= 1 or not 0 < self.utilisation <= 1 or self.cores_per_machine < 1:
            raise ConfigurationError("shares lie above 0 and at most at 1, and a machine has a core")
        if self.archive_studies and not self.days_to_fill:
            raise ConfigurationError("an archive is taken over in some days: --days-to-fill")


@dataclass(frozen=True, slots=True)
class Plan:
    """What the site needs at the end of the time. Bytes, seconds, cores; costs a month in the prices' currency."""

    films: float
    regions: float
    films_per_s: float
    """In the busiest hour."""
    network_bytes_per_s: float
    index_cores: int
    """For what comes in."""
    fill_cores: int
    """For the archive that is taken over, in the days that are allowed for it; needed for that time only."""
    machines: int
    """Of index workers, while nothing is taken over."""
    objects_bytes: float
    rows_bytes: float
    hnsw_bytes: float
    """Also the memory that keeps the index out of the disk's reach."""
    index_build_s: float
    """Of all leaves, two at a time, on the machine of the measurement; 0 where every leaf is searched row by row."""
    leaf_rows: float
    extrapolated: bool
    """A leaf is larger than the one that was measured."""
    cost_cores: float | None
    cost_disk: float | None


def plan(site: Site) -> Plan:
    """Return what `site` needs: nothing but its own numbers and measured constants goes into it."""
    films = (site.studies_per_day * _DAYS * site.years + site.archive_studies) * site.films_per_study
    regions = films * site.regions
    films_per_s = site.studies_per_day * site.films_per_study * site.busiest_hour_share / _HOUR_S
    wider = (site.dim - _MEASURED_DIM) * _NUMBER_BYTES
    objects = films * site.film_mb * 1e6
    of_a_film = value("film_rows_bytes") + value("rendition_rows_bytes")
    of_a_region = value("region_rows_bytes") + value("embedding_rows_bytes") + wider
    rows = films * of_a_film + regions * of_a_region
    hnsw = regions * (value("hnsw_bytes") + wider) if films >= ANN_THRESHOLD else 0.0
    cores = cores_for(films_per_s, site.utilisation)
    taken_over = site.archive_studies * site.films_per_study
    fill_per_s = taken_over / (site.days_to_fill * 24 * _HOUR_S) if taken_over else 0.0
    return Plan(
        films=films,
        regions=regions,
        films_per_s=films_per_s,
        network_bytes_per_s=films_per_s * site.film_mb * 1e6,
        index_cores=cores,
        fill_cores=cores_for(fill_per_s, site.utilisation) if taken_over else 0,
        machines=math.ceil(cores / site.cores_per_machine),
        objects_bytes=objects,
        rows_bytes=rows,
        hnsw_bytes=hnsw,
        index_build_s=build_s(films) * site.regions / 2 if hnsw else 0.0,
        leaf_rows=films,
        extrapolated=bool(hnsw) and films > value("hnsw_build_rows"),
        cost_cores=None if site.core_price is None else cores * site.core_price,
        cost_disk=None if site.tb_price is None else (objects + rows + hnsw) / _TB * site.tb_price,
    )


def cores_for(films_per_s: float, utilisation: float) -> int:
    """Return how many cores index so many films a second while they are at most so busy; at least one."""
    of_a_core = value("films_per_s_two_cores") / 2
    return max(1, math.ceil(films_per_s / of_a_core / utilisation))


def build_s(rows: float) -> float:
    """Return how long the index of a leaf of so many rows is built: it grows as n log n, as HNSW's authors say."""
    measured_rows = value("hnsw_build_rows")
    grown = rows * math.log(rows) / (measured_rows * math.log(measured_rows)) if rows > 1 else 0.0
    return value("hnsw_build_s") * grown
