"""What the commands of `regionmir model` share: where they print, and how they complain."""

import sys
from collections.abc import Callable
from typing import TypeVar

import typer
from rich.console import Console

from regionmir.core.errors import RegionMirError

T = TypeVar("T")
console = Console(width=None if sys.stdout.isatty() else 160)
complaints = Console(stderr=True)


def or_complain(work: Callable[[], T]) -> T:
    """Return what `work()` returns; a known error becomes one line and exit code 1."""
    try:
        return work()
    except RegionMirError as error:
        complaints.print(f"[red]{error}[/red]", soft_wrap=True)
        raise typer.Exit(1) from None
