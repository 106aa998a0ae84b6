"""A small ext4 file system of our own: it can be full, and it can lose its power.

`power_cut` uses ext4's own `EXT4_IOC_SHUTDOWN` without flushing (what xfstests' `godown -f` does): everything that was
written and not synced is gone, as after a real cut, and the next mount replays the journal.
"""

import fcntl
import os
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import disk_usage, which

MIB = 2**20
_SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32)
_WITHOUT_FLUSH = 2
_LEFT_WHEN_FULL = 4096
_TOOLS = ("mkfs.ext4", "mount", "umount", "unshare")
_OWN_NAMESPACE = "REGIONMIR_TEST_NAMESPACE"


@dataclass
class Volume:
    """A mounted ext4 image. `root`: where; `image`: the file behind it."""

    root: Path
    image: Path

    @property
    def filler(self) -> Path:
        return self.root / "filler"

    def fill(self) -> int:
        """Take all free space and return how many bytes that were."""
        taken = 0
        with self.filler.open("wb") as file:
            step = 64 * MIB
            while step >= _LEFT_WHEN_FULL:
                try:
                    os.posix_fallocate(file.fileno(), taken, step)
                    taken += step
                except OSError:
                    step //= 2
        return taken

    def free(self) -> None:
        """Give the space back."""
        self.filler.unlink(missing_ok=True)

    def power_cut(self) -> None:
        """Drop what was not synced; from now on every operation fails, until `repair`."""
        descriptor = os.open(self.root, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _WITHOUT_FLUSH))
        finally:
            os.close(descriptor)

    def mount(self) -> None:
        """Mount the image; after a power cut the journal is replayed."""
        _run("mount", "-o", "loop", str(self.image), str(self.root))

    def unmount(self) -> None:
        """Unmount it. Nothing may have it in use."""
        _run("umount", str(self.root))

    def free_bytes(self) -> int:
        return disk_usage(self.root).free


def can_mount() -> bool:
    """Return whether this process may mount images: it is root, with loop devices, in a mount namespace of its own.

    The namespace matters: a sandbox that another program makes keeps a copy of each mount, and a file system that lost
    its power lives on there.
    """
    return _OWN_NAMESPACE in os.environ and Path("/dev/loop-control").exists()


def run_in_own_namespace(module: str, arguments: Sequence[str]) -> None:
    """Become the same program in a mount namespace of its own, where this account may do that; else return."""
    if os.geteuid() != 0 or _OWN_NAMESPACE in os.environ or any(which(tool) is None for tool in _TOOLS):
        return
    command = ["unshare", "--mount", "--propagation", "private", sys.executable, "-m", module, *arguments]
    tried = subprocess.run([*command[:4], "true"], capture_output=True, check=False)
    if tried.returncode == 0:
        os.execvpe(command[0], command, {**os.environ, _OWN_NAMESPACE: "1"})


@contextmanager
def mounted_volume(folder: Path, mib: int) -> Iterator[Volume]:
    """Yield an ext4 of so many MiB, mounted at `folder`/volume; its image is sparse and is deleted at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    volume = Volume(folder / "volume", folder / "volume.ext4")
    volume.root.mkdir()
    with volume.image.open("wb") as file:
        file.truncate(mib * MIB)
    _run("mkfs.ext4", "-q", "-F", str(volume.image))
    volume.mount()
    try:
        yield volume
    finally:
        _run("umount", "--lazy", str(volume.root))  # what still ends holds it for a moment
        volume.image.unlink()


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command[0]}: {done.stderr.strip()}"
