"""`regionmir doctor`: is everything here that RegionMIR needs, and what to do where it is not?"""

from dataclasses import asdict

import typer

from regionmir.admin.checks import all_checks
from regionmir.admin.context import JSON, console, print_json, settings_in_force
from regionmir.admin.findings import Level

_STYLES = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}


def doctor(
    as_json: bool = JSON,
    model: bool = typer.Option(True, help="Load the model's weights, which takes some seconds."),
) -> None:
    """Check everything that RegionMIR needs, and say what to do. Exit code 1 if something fails.

    Example: regionmir doctor
    """
    findings = []
    for finding in all_checks(settings_in_force(), with_model=model):
        findings.append(finding)
        if not as_json:
            console.print(f"{finding.level.value:<5}", style=_STYLES[finding.level], end="")
            console.print(f"{finding.subject}: {finding.found}", markup=False)
            if finding.advice:
                console.print(f"     -> {finding.advice}", markup=False)
    if as_json:
        print_json([asdict(finding) for finding in findings])
    raise typer.Exit(1 if any(finding.level is Level.FAIL for finding in findings) else 0)


def add_to(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(doctor)
