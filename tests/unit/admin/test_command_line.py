import subprocess
import sys

import pytest
import typer

from regionmir.admin.main import app

HEAVY = ("torch", "scipy", "sqlalchemy", "celery", "fastapi")


def leaves(command: "typer.core.TyperGroup | typer.core.TyperCommand", path: str = "") -> dict[str, str]:
    """Return the help text of every command by its words."""
    if isinstance(command, typer.core.TyperGroup):
        found: dict[str, str] = {}
        for name, inner in command.commands.items():
            found |= leaves(inner, f"{path} {name}".strip())
        return found
    return {path: command.help or ""}


COMMANDS = leaves(typer.main.get_command(app))


def test_the_command_line_starts_without_what_only_some_commands_need() -> None:
    code = f"import regionmir.admin.main, sys; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_says_what_it_does_and_shows_an_example(command: str) -> None:
    assert "\nExample" in COMMANDS[command]
    assert f"regionmir {command}" in COMMANDS[command]
