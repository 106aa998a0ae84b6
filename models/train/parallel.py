"""Several processes that train one network, started by `torchrun`; every function also works in a run of one process.

Each process draws its own films, with a generator seeded by its rank; gradients and the embedder's centres are averaged
over all of them, so that their weights stay equal. The first process alone writes and reports.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn

from regionmir.core.errors import ConfigurationError


def training_device(name: str) -> torch.device:
    """Return the device `name`; "" is this process's GPU where there is one, else the CPU.

    Raises `ConfigurationError` where it does not exist.
    """
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError:
        raise ConfigurationError(f"device {name!r} is not one of torch's: write cpu, cuda, cuda:1, ...") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigurationError(f"device {name!r}: this torch sees no GPU")
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return device


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Join the processes that `torchrun` started, over NCCL between GPUs and Gloo between CPUs; alone without it."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def rank() -> int:
    """Return the number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Return how many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def summed(values: Tensor) -> Tensor:
    """Return `values` added up over all processes."""
    if world_size() > 1:
        values = values.clone()
        dist.all_reduce(values)
    return values


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Replace each gradient by its mean over all processes, in one message; one that no process has stays away."""
    if world_size() == 1:
        return
    own = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    has = torch.tensor([float(p.grad is not None) for p in parameters], device=own[0].device)
    joined = summed(torch.cat([has, *(g.flatten() for g in own)]))
    means = torch.split(joined[len(has) :] / world_size(), [p.numel() for p in parameters])
    for parameter, some, mean in zip(parameters, joined[: len(has)].tolist(), means, strict=True):
        parameter.grad = mean.view_as(parameter) if some else None


def of_first(value: float, device: torch.device) -> float:
    """Return the first process's `value`: clocks differ, and all must agree on where a run stands."""
    if world_size() == 1:
        return value
    shared = torch.tensor([value], dtype=torch.float64, device=device)
    dist.broadcast(shared, 0)
    return float(shared)


def gathered(state: Tensor, device: torch.device) -> Tensor:
    """Return every process's `state` (...), on the CPU, as one tensor (processes, ...)."""
    if world_size() == 1:
        return state[None]
    parts = [torch.empty_like(state, device=device) for _ in range(world_size())]
    dist.all_gather(parts, state.to(device))
    return torch.stack(parts).cpu()
