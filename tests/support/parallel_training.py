"""One of the processes that `torchrun` starts: trains on the folder argv[1], leaves its weights in argv[2]."""

import sys
from pathlib import Path

import torch

from models.data.dataset import read_split
from models.data.tensors import load_films
from models.train.loop import Run, train_run
from models.train.parallel import process_group, rank
from tests.support.drawn import SMALL

if __name__ == "__main__":
    data, out = Path(sys.argv[1]), Path(sys.argv[2])
    torch.set_num_threads(1)
    with process_group(torch.device("cpu")):
        run = Run(SMALL, load_films(read_split(data, "train"), SMALL.network.side), None)
        train_run(run, out / "checkpoint.pt", lambda _progress: None)
        torch.save(run.network.state_dict(), out / f"{rank()}.pt")
