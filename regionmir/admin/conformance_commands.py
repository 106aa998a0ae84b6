"""`regionmir conformance`: the DICOM conformance statement, made from the tables that the code runs by."""

from pathlib import Path

import typer

from regionmir.core.errors import ConfigurationError


def conformance(
    out: Path | None = typer.Option(None, help="Write it to this file instead of printing it."),
    check: Path | None = typer.Option(None, help="Say whether this file still is the statement; exit 1 if not."),
) -> None:
    """Print the DICOM conformance statement (PS3.2) of this version.

    Example: regionmir conformance --out docs/conformance.md
    """
    from regionmir.admin.conformance.statement import statement

    text = statement()
    if check is not None:
        _compare(check, text)
    elif out is not None:
        out.write_text(text, encoding="utf-8")
    else:
        typer.echo(text, nl=False)


def _compare(path: Path, text: str) -> None:
    try:
        written = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from None
    if written == text:
        typer.echo(f"{path} is the statement of this version")
        return
    pairs = zip(written.splitlines(), text.splitlines(), strict=False)
    line = next((n for n, (old, new) in enumerate(pairs, start=1) if old != new), "the end")
    typer.echo(f"{path} differs from line {line} on: run `regionmir conformance --out {path}`", err=True)
    raise typer.Exit(1)


def add_to(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(conformance)
