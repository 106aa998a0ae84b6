"""A power cut drops what was not synced: of what was acknowledged, nothing. Each sync that is left out shows."""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from regionmir.storage import FileStore
from tests.integration.dicom_node.conftest import NodeFactory
from tests.support.dicom import encoded, radiograph
from tests.support.raw_peer import ACCEPT, RawPeer
from tests.support.volatile_files import VolatileFiles, restore

_FILMS = 8

LostAtOnce = list[str]
"""SHA-256 of data sets that a power cut right after their Success would lose."""


def lost(start_node: NodeFactory, tmp_path: Path, files: VolatileFiles) -> tuple[list[str], LostAtOnce]:
    """Store films over two associations; return the hashes of what was acknowledged, and of what a cut would lose."""
    running = start_node(files=files)
    acknowledged: list[str] = []
    gone: LostAtOnce = []
    with RawPeer(running.port) as one, RawPeer(running.port) as other:
        assert [one.associate(), other.associate()] == [ACCEPT, ACCEPT]
        for number in range(_FILMS):
            film, left = radiograph(size=64), radiograph(size=64)
            other.begin_store(left)
            other.send_fragment(encoded(left)[:500], last=False)  # in the middle of its way at the power cut
            assert one.store(film) == 0x0000
            acknowledged.append(sha256(encoded(film)).hexdigest())
            gone += _missing(files, acknowledged, tmp_path / f"after{number}")
            other.send_fragment(encoded(left)[500:], last=True)
            assert other.status() == 0x0000
    return acknowledged, gone


def _missing(files: VolatileFiles, hashes: list[str], folder: Path) -> list[str]:
    """Return which data sets a store does not have that opens what a power cut leaves now."""
    restore(files.survivors(), folder)
    store = FileStore(folder)
    store.sweep_incoming()
    whole = {store.dataset_sha256(key) for key in sorted(store.keys()) if store.size(key) > 0}
    return [digest for digest in hashes if digest not in whole]


def test_no_acknowledged_instance_is_lost_by_a_power_cut_at_any_moment(start_node: NodeFactory, tmp_path: Path) -> None:
    acknowledged, gone = lost(start_node, tmp_path, VolatileFiles((tmp_path / "data").resolve()))
    assert len(acknowledged) == _FILMS
    assert gone == []


class WithoutFileSync(VolatileFiles):
    def sync(self, descriptor: int) -> None:
        """Forget it."""


def without_folder_sync(depth: int) -> Callable[[Path], VolatileFiles]:
    """Return a file layer that leaves out the sync of folders so far below the root."""

    class WithoutFolderSync(VolatileFiles):
        def sync_folder(self, path: Path) -> None:
            if len(path.relative_to(self.root).parts) != depth:
                super().sync_folder(path)

    return WithoutFolderSync


@pytest.mark.parametrize(
    "files",
    [WithoutFileSync, *(without_folder_sync(depth) for depth in range(4))],
    ids=["the file", "the root", "objects", "objects/ab", "objects/ab/cd"],
)
def test_leaving_out_the_sync_of_any_one_loses_what_was_acknowledged(
    start_node: NodeFactory, tmp_path: Path, files: Callable[[Path], VolatileFiles]
) -> None:
    acknowledged, gone = lost(start_node, tmp_path, files((tmp_path / "data").resolve()))
    assert len(acknowledged) == _FILMS
    assert len(set(gone)) == _FILMS
