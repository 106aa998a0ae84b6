"""Figures of a run as TensorBoard reads them: `tensorboard --logdir OUT/logs`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from models.train.loop import Progress
from regionmir.core.errors import ConfigurationError

LOGS = "logs"
FLUSH_EVERY_S = 10


class Writer(Protocol):
    """What is used of tensorboardX's `SummaryWriter`."""

    def add_scalar(self, tag: str, value: float, step: int) -> object:
        """Note one figure."""


@contextmanager
def event_log(out: Path) -> Iterator[Callable[[Progress], None]]:
    """Give what notes progress in event files in `out`/logs; they are complete once this is left.

    Raises `ConfigurationError` where the extra `train` is missing.
    """
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise ConfigurationError("logs need tensorboardX: pip install 'regionmir[train]'") from None
    with SummaryWriter(str(out / LOGS), flush_secs=FLUSH_EVERY_S) as writer:
        yield lambda progress: _note(writer, progress)


def _note(writer: Writer, progress: Progress) -> None:
    """Note every figure of `progress`: losses, their sum, learning rate, and validation where it has just been."""
    figures = {f"loss/{name}": value for name, value in progress.losses.items()}
    figures |= {f"validation/{name}": value for name, value in progress.validation.items()}
    figures |= {"loss": progress.total, "learning_rate": progress.learning_rate, "elapsed_s": progress.elapsed_s}
    for tag, value in figures.items():
        writer.add_scalar(tag, value, progress.step)
