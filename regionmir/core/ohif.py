"""OHIF, the viewer: which release we serve, where it is installed, and how its package is checked and unpacked."""

import base64
import hashlib
import shutil
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

from regionmir.core.errors import ConfigurationError

PACKAGE = "@ohif/app"
VERSION = "3.13.2"
INTEGRITY = "sha512-WZdxmpmG7rqFgW9ZJLcbgr3XCtLi1KDNPoMaeY5PPe6j4G4fjEjjkycZM6C6Zk2F87BKxFfpq+jd5xXZB9E8EA=="
"""Of the package as published: Subresource Integrity's form, as npm writes it into lock files."""
ROOT = "/ohif/"
"""Where the web process serves the viewer; its build expects to live at the root of a host."""
_BUILT = "package/dist/"
_MOVED = {
    "*.js": ('__webpack_require__.p = "/";', f'__webpack_require__.p = "{ROOT}";'),
    "*.css": ("url(/", f"url({ROOT}"),
    "manifest.json": ('"/assets/', f'"{ROOT}assets/'),
}
"""Addresses in the built viewer, and what they become."""


def ohif_folder(data_dir: Path) -> Path:
    """Return the folder that holds the viewer once it is installed."""
    return data_dir / "ohif" / VERSION


def install_package(package: Path, data_dir: Path, integrity: str = INTEGRITY) -> Path:
    """Unpack the built viewer out of the npm package `package` and return its folder; a present one is replaced.

    Raises `ConfigurationError` where the package is not the one we know, or cannot be read or written.
    """
    folder = ohif_folder(data_dir)
    try:
        found = "sha512-" + base64.b64encode(hashlib.sha512(package.read_bytes()).digest()).decode()
        if found != integrity:
            raise ConfigurationError(
                f"{package.name} is not {PACKAGE} {VERSION}: its SHA-512 differs; download it again"
            )
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder.parent) as temporary:
            built = _unpack(package, Path(temporary))
            _move_to_root(built)
            shutil.rmtree(folder, ignore_errors=True)
            built.rename(folder)
    except (OSError, tarfile.TarError) as error:
        raise ConfigurationError(f"the viewer cannot be installed from {package.name}: {error}") from None
    return folder


def _unpack(package: Path, into: Path) -> Path:
    with tarfile.open(package) as archive:
        members = [m for m in archive.getmembers() if m.name.startswith(_BUILT)]
        archive.extractall(into, members=members, filter="data")
    built = into / _BUILT
    if not (built / "index.html").is_file():
        raise ConfigurationError(f"{package.name} holds no built viewer ({_BUILT}index.html)")
    return built


def _move_to_root(built: Path) -> None:
    """Tell the viewer's scripts, styles and manifest that they live under `ROOT`."""
    for names, (there, here) in _MOVED.items():
        for file in built.glob(names):
            text = file.read_text(encoding="utf-8")
            if there in text:
                file.write_text(text.replace(there, here), encoding="utf-8")
