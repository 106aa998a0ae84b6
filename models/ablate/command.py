"""What the commands of the ablation share: data, budget and threads from the command line, and errors as one line."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from regionmir.core.errors import RegionMirError


def parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """Return a parser of what every command takes."""
    asked = argparse.ArgumentParser(prog=f"python -m {name}", description=description)
    asked.add_argument("--data", type=Path, required=True, help="folder with the splits train and val")
    asked.add_argument("--out", type=Path, required=True, help="folder for results; what is finished there is kept")
    asked.add_argument("--steps", type=int, help="steps of each training (default 150)")
    asked.add_argument("--threads", type=int, default=0, help="CPU threads; 0: all cores")
    return asked


def carry_out(threads: int, work: Callable[[Callable[[str], None]], Path]) -> int:
    """Run `work`, which says through its argument how far it is, print the table it writes; return the exit code."""
    if threads:
        torch.set_num_threads(threads)
    try:
        table = work(lambda line: print(line, flush=True))
    except RegionMirError as error:
        print(error, file=sys.stderr)
        return 1
    print(table.read_text(encoding="utf-8"))
    return 0
