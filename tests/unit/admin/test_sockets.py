import stat
from pathlib import Path

import pytest

from regionmir.admin.sockets import MAX_SOCKET_PATH_BYTES, remove_socket_folder, socket_folder


def test_a_short_path_is_used_as_it_is_and_closed_to_others(tmp_path: Path) -> None:
    folder = socket_folder(tmp_path / "s", "x")
    assert folder == tmp_path / "s"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_long_path_gets_one_private_stand_in_for_all_calls(tmp_path: Path) -> None:
    wanted = tmp_path / ("long" * 25) / "s"
    first = socket_folder(wanted, "x.sock")
    assert socket_folder(wanted, "x.sock") == first
    assert len(str(first / "x.sock")) <= MAX_SOCKET_PATH_BYTES
    assert stat.S_IMODE(first.stat().st_mode) == 0o700
    remove_socket_folder(wanted)
    assert not first.exists()


@pytest.mark.parametrize("trap", ["open to others", "a link", "gone"])
def test_a_stand_in_that_is_not_ours_alone_is_not_used(tmp_path: Path, trap: str) -> None:
    wanted = tmp_path / ("long" * 25) / "s"
    first = socket_folder(wanted, "x.sock")
    if trap == "open to others":
        first.chmod(0o777)
    else:
        first.rmdir()
    if trap == "a link":
        first.symlink_to(tmp_path)
    second = socket_folder(wanted, "x.sock")
    assert second != first
    remove_socket_folder(wanted)
    if trap != "gone":
        first.unlink() if trap == "a link" else first.rmdir()
