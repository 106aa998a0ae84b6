"""The approximate index of an evaluation: pgvector in a server of its own."""

import numpy as np

from models.evaluate.neighbours import recall
from regionmir.admin.model_index import throw_away_index


def test_an_entry_is_its_own_nearest_and_nearly_all_of_the_ten_nearest_are_found() -> None:
    base = np.random.default_rng(0).normal(size=(300, 16)).astype(np.float32)
    base /= np.linalg.norm(base, axis=1, keepdims=True)
    with throw_away_index() as search:
        found = search(base, base[:20], 10)
        few = search(base[:4], base[:1], 10)
    np.testing.assert_array_equal(found[:, 0], np.arange(20))
    assert recall(base[:20] @ base.T, found)["recall_10"].mean() > 0.95
    assert sorted(few[0].tolist()) == [-1] * 6 + [0, 1, 2, 3]
