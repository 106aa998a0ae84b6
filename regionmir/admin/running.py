"""The running instance: one per data folder, and where the other commands find it."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from regionmir.core.errors import ConfigurationError
from regionmir.core.settings import Settings, origin_of

_LOCK, _ENDPOINTS = "up.lock", "endpoints.json"


@dataclass(frozen=True, slots=True)
class Endpoints:
    """How to reach a running instance. Held in a file that only its owner can read."""

    database_url: str
    redis_url: str
    dicom_host: str
    dicom_port: int
    ae_title: str
    http_host: str
    http_port: int
    pid: int


@contextmanager
def only_one(settings: Settings) -> Iterator[None]:
    """Hold the data folder for this process. Raises `ConfigurationError` if another `regionmir up` holds it."""
    descriptor = os.open(settings.run_dir / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
            raise ConfigurationError(
                f"RegionMIR is already running on {settings.data_dir} (process {holder}): "
                "stop it, or choose another folder with REGIONMIR_DATA_DIR"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def is_running(settings: Settings) -> bool:
    """True if a `regionmir up` holds this data folder."""
    try:
        descriptor = os.open(settings.run_dir / _LOCK, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def publish(settings: Settings, endpoints: Endpoints) -> None:
    """Write down where the instance is reached, with mode 0600."""
    new = settings.run_dir / f"{_ENDPOINTS}.new"
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(asdict(endpoints), file)
    new.replace(_path(settings))


def withdraw(settings: Settings) -> None:
    """Remove what `publish` wrote."""
    _path(settings).unlink(missing_ok=True)


def endpoints_of(settings: Settings) -> Endpoints | None:
    """Return where the instance on this data folder is reached; None if none is ready."""
    if not is_running(settings):
        return None
    try:
        return Endpoints(**json.loads(_path(settings).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def running_settings(settings: Settings) -> Settings:
    """Return the settings by which a command reaches the running instance.

    What was not set by hand is taken from the instance that runs on the data folder. Without one the settings stay as
    they are: `require_database_url` then says what to do.
    """
    found = endpoints_of(settings)
    if found is None:
        return settings
    values = {name: value for name, value in asdict(found).items() if name in Settings.model_fields}
    return settings.model_copy(update={n: v for n, v in values.items() if origin_of(n) == "default"})


def _path(settings: Settings) -> Path:
    return settings.run_dir / _ENDPOINTS
