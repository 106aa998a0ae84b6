"""The mark of a restoration that has begun and not ended: nothing may run on such a data folder."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from regionmir.core.errors import ConfigurationError

MARK: Final = "restoring.json"


@dataclass(frozen=True, slots=True)
class Mark:
    """Which backup is being restored; `loading`: its database was found empty, and since then is ours."""

    backup: str
    loading: bool = False


def require_whole(data_dir: Path) -> None:
    """Raise `ConfigurationError` where a restoration into this folder was interrupted."""
    if (data_dir / MARK).exists():
        raise ConfigurationError(
            f"{data_dir} is only partly restored: run the same `regionmir restore` again, or empty the folder"
        )


def read(data_dir: Path) -> Mark | None:
    """Return the mark of a data folder, None where it bears none."""
    try:
        return Mark(**json.loads((data_dir / MARK).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        raise ConfigurationError(f"{data_dir / MARK} cannot be read: empty the folder, then restore again") from None


def write(data_dir: Path, mark: Mark) -> None:
    """Mark the data folder, durably and at once."""
    new = data_dir / f"{MARK}.new"
    with new.open("w", encoding="utf-8") as file:
        json.dump(asdict(mark), file)
        file.flush()
        os.fsync(file.fileno())
    new.rename(data_dir / MARK)


def end(data_dir: Path) -> None:
    """Take the mark away: everything is there."""
    (data_dir / MARK).unlink()
