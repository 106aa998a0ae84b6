"""`python -m models.ablate --data DIR --seeds 1 2 3 --steps N --out DIR`: the table of the training's parts."""

import argparse
import sys
from pathlib import Path

import torch

from models.ablate.run import ablate
from regionmir.core.errors import RegionMirError


def main() -> int:
    """Run the ablation that the command line asks for; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m models.ablate", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the splits train and val")
    parser.add_argument("--out", type=Path, required=True, help="folder for results; what is finished there is kept")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--steps", type=int, help="steps of each trained variant (default 150)")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0: all cores")
    asked = parser.parse_args()
    if asked.threads:
        torch.set_num_threads(asked.threads)
    try:
        table = ablate(asked.data, asked.out, asked.seeds, lambda line: print(line, flush=True), steps=asked.steps)
    except RegionMirError as error:
        print(error, file=sys.stderr)
        return 1
    print(table.read_text(encoding="utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
