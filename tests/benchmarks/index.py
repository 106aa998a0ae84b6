"""How fast films become regions: the shipped model alone, batch 8, decoding excluded."""

import statistics
import time
from collections.abc import Iterator

import numpy as np

from models.registry import load_model
from tests.benchmarks.report import Figure
from tests.support.films import chest_values

BATCH = 8
ROUNDS = 12


def figures() -> Iterator[Figure]:
    """Give milliseconds for one film: detect and embed all regions."""
    model = load_model(None)
    films = [chest_values(seed, 512, 512).astype(np.float32) for seed in range(BATCH)]
    films = [(film - film.min()) / max(1e-6, float(np.ptp(film))) for film in films]
    model.analyse(films)
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        model.analyse(films)
        times.append((time.perf_counter() - began) * 1000 / BATCH)
    metric = f"detect and embed, batch {BATCH}, median ms per film"
    why = "the forward pass alone takes 22 ms in float32"
    yield Figure("analyse_ms", metric, statistics.median(times), 25, False, why=why)
