"""Where the objects are: on a local (or shared) file system, or in a bucket, as the settings say."""

from regionmir.core.errors import ConfigurationError
from regionmir.core.settings import Settings
from regionmir.storage.store import FileStore


def open_store(settings: Settings) -> FileStore:
    """Return the store of the settings. Raises `ConfigurationError`, or `StorageUnavailable` for a broken disk."""
    if not settings.s3_url:
        return FileStore(settings.data_dir)
    try:
        from regionmir.storage.bucket import BucketStore
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"s3_url: {error.name} is not installed; pip install 'regionmir[s3]'") from None
    return BucketStore(settings.data_dir, settings.s3_url, settings.s3_copies_bytes)
