"""The seed of a test that draws."""

import os
import random

_SHORT = 7


def seed_of_run(*, long: bool) -> int:
    """Return `REGIONMIR_TEST_SEED`, else a new seed in a long run and the same one in every short run, and print it.

    A short run guards a change, and fails for what the change did; a long one looks for what nobody met yet.
    """
    drawn = random.randrange(10**6) if long else _SHORT
    seed = int(os.environ.get("REGIONMIR_TEST_SEED", drawn))
    print(f"seed {seed} (REGIONMIR_TEST_SEED)")
    return seed
