"""`regionmir demo`: the main job, end to end, on real radiographs."""

import shutil
from pathlib import Path

import typer

from regionmir.admin.context import console
from regionmir.core.errors import ConfigurationError


def demo(
    out: Path = typer.Option(Path("demo-output"), help="Folder for the results; what the last demo wrote is replaced."),
    dicom: Path | None = typer.Option(None, help="Folder of DICOM files to use instead of the demo's films."),
    limit: int = typer.Option(0, min=0, help="At most so many of the demo's films; 0: all 247."),
) -> None:
    """Send real radiographs by C-STORE, find the likes of one region by C-FIND, and draw them.

    Runs on free ports and its own data folder, and leaves nothing running.

    Example: regionmir demo --dicom ~/films
    """
    from regionmir.admin.demo.films import as_dicom
    from regionmir.admin.demo.instance import Instance
    from regionmir.admin.demo.story import Story, tell

    if dicom is not None and not dicom.is_dir():
        raise ConfigurationError(f"{dicom} is no folder; --dicom names a folder of DICOM files")
    if dicom is not None and dicom.resolve().is_relative_to(out.resolve()):
        raise ConfigurationError(f"{dicom} lies in {out}, which the demo empties: choose another folder with --out")
    story = Story()
    _clear(out)
    with story.stage("films"):
        folder = dicom if dicom is not None else as_dicom(out / "films", limit, console)
    console.print("starting PostgreSQL, Redis, the DICOM node, workers and web ...")
    instance = Instance(out / "data")
    try:
        with story.stage("start"):
            instance.start()
        tell(instance, folder, out, story, console)
    finally:
        instance.stop()


def _clear(out: Path) -> None:
    """Remove what an earlier demo wrote, and nothing else."""
    out.mkdir(parents=True, exist_ok=True)
    for name in ("data", "best-hit", "films"):
        shutil.rmtree(out / name, ignore_errors=True)
    for name in ("data.log", "similar.png", "demo.json"):
        (out / name).unlink(missing_ok=True)


def add_to(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(demo)
