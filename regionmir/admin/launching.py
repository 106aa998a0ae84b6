"""Commands for `launch.py`: how a child process is tied to its parent."""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

_SCRIPT = Path(__file__).with_name("launch.py")


def tied_to_us(
    program: Sequence[str], *, signal_at_death: signal.Signals, uid: int | None = None, folders: Sequence[Path] = ()
) -> list[str]:
    """Return the command that runs `program` so that `signal_at_death` reaches it when this process dies.

    `program[0]` is an absolute path. The process id stays the same through the launcher. `uid` and `folders`: see
    `launch.py`.
    """
    command = [sys.executable, "-I", "-S", str(_SCRIPT), "--parent", str(os.getpid()), "--signal", signal_at_death.name]
    if uid is not None:
        command += ["--uid", str(uid)]
    for folder in folders:
        command += ["--folder", str(folder)]
    return [*command, "--", *program]
