"""Several processes that train one network."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from models.data.dataset import read_split
from models.data.tensors import load_films
from models.train.loop import Run
from models.train.parallel import average_gradients, gathered, of_first, summed
from regionmir.core.errors import ModelError
from tests.support.drawn import SMALL, drawn_folder

ROOT = Path(__file__).parents[3]


def test_two_processes_draw_different_films_and_end_with_equal_weights(tmp_path: Path) -> None:
    data = drawn_folder(tmp_path)
    launch = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    command = (sys.executable, *launch, "-m", "tests.support.parallel_training", str(data), str(tmp_path))
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    checkpoint = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert checkpoint["step"] == 2
    assert not torch.equal(*checkpoint["rng"])
    films = load_films(read_split(data, "train"), SMALL.network.side)
    alone = Run(SMALL, films, None)
    assert bool(checkpoint["network"]["embedder.centres"].any())
    with pytest.raises(ModelError, match="in 2 processes: start as many"):
        alone.resume(tmp_path / "checkpoint.pt")


def test_one_process_alone_shares_nothing() -> None:
    device, values = torch.device("cpu"), torch.tensor([1.0, 2])
    parameter = torch.nn.Parameter(values)
    parameter.grad = values * 3
    average_gradients([parameter])
    assert parameter.grad.tolist() == [3, 6]
    assert summed(values) is values
    assert of_first(1.5, device) == 1.5
    assert gathered(values, device).tolist() == [[1, 2]]
