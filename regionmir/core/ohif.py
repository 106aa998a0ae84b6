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
_CHANGED = (
    ("*.js", '__webpack_require__.p = "/";', f'__webpack_require__.p = "{ROOT}";'),
    ("*.css", "url(/", f"url({ROOT}"),
    ("manifest.json", '"/assets/', f'"{ROOT}assets/'),
    # Metadata without what must not leave are Partial Content (PS3.18 10.4.3); the viewer's client takes 200 alone.
    (
        "*.js",
        "} else if (request.status === 202) {",
        "} else if (request.status === 206) {\nresolve(request.response);\n} else if (request.status === 202) {",
    ),
    # The list of studies filters what the server has matched once more: hits do not bear the text that asked for them.
    ("*.js", "manualFiltering = false,", "manualFiltering = true,"),
    # The source of one answer reads studies from another parameter than the one that the viewer's own links carry.
    ("*.js", "query.get('studyInstanceUIDs') ||", "query.getAll('StudyInstanceUIDs').join(';') ||"),
)
"""What becomes of texts in the built viewer: names of its files, what is there, what it becomes."""


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
            _adapt(built)
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


def _adapt(built: Path) -> None:
    """Change the texts of `_CHANGED` in the viewer's scripts, styles and manifest."""
    for pattern in dict.fromkeys(names for names, _, _ in _CHANGED):
        changes = [(there, here) for names, there, here in _CHANGED if names == pattern]
        for file in built.glob(pattern):
            text = was = file.read_text(encoding="utf-8")
            for there, here in changes:
                text = text.replace(there, here)
            if text != was:
                file.write_text(text, encoding="utf-8")
