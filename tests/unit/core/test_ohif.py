"""The viewer's package: checked before anything of it is used, and unpacked whole or not at all."""

import base64
import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from regionmir.core.errors import ConfigurationError
from regionmir.core.ohif import install_package, ohif_folder


def packed(folder: Path, files: dict[str, str]) -> tuple[Path, str]:
    """Return an npm package of `files` and its integrity."""
    package = folder / "viewer.tgz"
    with tarfile.open(package, "w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return package, "sha512-" + base64.b64encode(hashlib.sha512(package.read_bytes()).digest()).decode()


def test_the_built_viewer_is_unpacked_and_replaces_an_older_one(tmp_path: Path) -> None:
    package, integrity = packed(tmp_path, {"package/dist/index.html": "new", "package/src/a.js": "source"})
    old = ohif_folder(tmp_path) / "old.js"
    old.parent.mkdir(parents=True)
    old.write_text("old")
    folder = install_package(package, tmp_path, integrity)
    assert [p.relative_to(folder).as_posix() for p in folder.rglob("*")] == ["index.html"]
    assert (folder / "index.html").read_text() == "new"
    assert list(folder.parent.iterdir()) == [folder]


def test_scripts_and_manifest_are_told_where_they_live(tmp_path: Path) -> None:
    files = {
        "index.html": "",
        "app.js": 'a;\n__webpack_require__.p = "/";\nb',
        "manifest.json": '{"src": "/assets/a.png"}',
        "a.css": "url(/f.woff2)",
    }
    package, integrity = packed(tmp_path, {f"package/dist/{name}": text for name, text in files.items()})
    folder = install_package(package, tmp_path, integrity)
    assert (folder / "app.js").read_text() == 'a;\n__webpack_require__.p = "/ohif/";\nb'
    assert (folder / "manifest.json").read_text() == '{"src": "/ohif/assets/a.png"}'
    assert (folder / "a.css").read_text() == "url(/ohif/f.woff2)"


def test_the_viewer_takes_partial_answers_and_leaves_matching_to_the_server(tmp_path: Path) -> None:
    script = """if (request.status === 200) {
a();
} else if (request.status === 202) {
  manualFiltering = false,
const uids = query.get('studyInstanceUIDs') || query.get('studyInstanceUids');"""
    package, integrity = packed(tmp_path, {"package/dist/index.html": "", "package/dist/1.js": script})
    changed = (install_package(package, tmp_path, integrity) / "1.js").read_text()
    assert "request.status === 206) {\nresolve(request.response);\n} else if (request.status === 202)" in changed
    assert "manualFiltering = true," in changed
    assert "query.getAll('StudyInstanceUIDs').join(';') || query.get('studyInstanceUids')" in changed


def test_another_package_is_refused_and_the_present_viewer_stays(tmp_path: Path) -> None:
    package, integrity = packed(tmp_path, {"package/dist/index.html": "right"})
    install_package(package, tmp_path, integrity)
    other, _ = packed(tmp_path, {"package/dist/index.html": "wrong"})
    with pytest.raises(ConfigurationError, match="SHA-512"):
        install_package(other, tmp_path, integrity)
    assert (ohif_folder(tmp_path) / "index.html").read_text() == "right"


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"package/src/index.html": "x"}, "no built viewer"),
        ({"package/dist/index.html": "x", "package/dist/../../../evil.js": "x"}, "outside"),
    ],
)
def test_a_package_that_is_no_viewer_or_reaches_out_of_its_folder_is_refused(
    tmp_path: Path, files: dict[str, str], why: str
) -> None:
    package, integrity = packed(tmp_path, files)
    with pytest.raises(ConfigurationError, match=why):
        install_package(package, tmp_path, integrity)
    assert not ohif_folder(tmp_path).exists()
    assert not list(tmp_path.rglob("evil.js"))


def test_a_file_that_is_no_package_is_refused(tmp_path: Path) -> None:
    package = tmp_path / "viewer.tgz"
    package.write_bytes(b"no archive")
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(b"no archive").digest()).decode()
    with pytest.raises(ConfigurationError, match="cannot be installed"):
        install_package(package, tmp_path, integrity)
    with pytest.raises(ConfigurationError, match="cannot be installed"):
        install_package(tmp_path / "absent.tgz", tmp_path, integrity)
