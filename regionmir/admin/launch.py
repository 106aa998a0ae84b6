"""Become another program that does not outlive its parent. Standard library only: run as a script with `-I -S`.

    python -I -S launch.py --parent PID --signal SIGINT [--uid N] [--folder DIR]... -- PROGRAM ARGUMENT...

The kernel sends `--signal` to the program when its parent dies, however it dies. With `--uid` it runs under that
number and without any other group. Folders are opened before that, so that the program can use one below a folder
which its account may not enter: an argument `@0` becomes the path of the first open folder, `@1` of the second.
"""

import argparse
import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Prepare this process and replace it by the program."""
    arguments, program = _parse(sys.argv[1:])
    folders = [_open_folder(path) for path in arguments.folder]
    program = [folders[int(a[1:])] if a.startswith("@") and a[1:].isdigit() else a for a in program]
    if arguments.uid is not None:
        os.setgroups([])
        os.setresgid(arguments.uid, arguments.uid, arguments.uid)
        os.setresuid(arguments.uid, arguments.uid, arguments.uid)
    _die_with_parent(signal.Signals[arguments.signal], arguments.parent)
    os.execv(program[0], program)  # noqa: S606 - becoming another program is what this is for


def _parse(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    split = argv.index("--")
    parser = argparse.ArgumentParser()
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--signal", default="SIGTERM")
    parser.add_argument("--uid", type=int)
    parser.add_argument("--folder", action="append", default=[])
    return parser.parse_args(argv[:split]), argv[split + 1 :]


def _open_folder(path: str) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    os.set_inheritable(descriptor, True)
    return f"/proc/self/fd/{descriptor}"


def _die_with_parent(signal_number: int, parent: int) -> None:
    """Ask the kernel for a signal at the parent's death (after the change of user, which would clear it)."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:  # it died before we asked
        sys.exit("the process that started this one is gone")


if __name__ == "__main__":
    main()
