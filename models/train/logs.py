"""Figures of a run as TensorBoard reads them: `tensorboard --logdir OUT/logs`."""

from pathlib import Path
from typing import Protocol

from models.train.loop import Progress
from regionmir.core.errors import ConfigurationError

LOGS = "logs"


class Writer(Protocol):
    """What is used of tensorboardX's `SummaryWriter`."""

    def add_scalar(self, tag: str, value: float, step: int) -> object:
        """Note one figure."""

    def flush(self) -> object:
        """Write what was noted."""


def open_logs(out: Path) -> Writer:
    """Return a writer of event files in `out`/logs. Raises `ConfigurationError` where the extra `train` is missing."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise ConfigurationError("logs need tensorboardX: pip install 'regionmir[train]'") from None
    writer: Writer = SummaryWriter(str(out / LOGS))
    return writer


def log_progress(writer: Writer, progress: Progress) -> None:
    """Write every figure of `progress`: losses, their sum, learning rate, and validation where it has just been."""
    figures = {f"loss/{name}": value for name, value in progress.losses.items()}
    figures |= {f"validation/{name}": value for name, value in progress.validation.items()}
    figures |= {"loss": progress.total, "learning_rate": progress.learning_rate, "elapsed_s": progress.elapsed_s}
    for tag, value in figures.items():
        writer.add_scalar(tag, value, progress.step)
    writer.flush()
