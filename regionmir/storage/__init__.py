"""Objects on disk or in a bucket: streamed in, made durable under the hash of their data set, read and deleted."""

from regionmir.storage.files import Files, OsFiles
from regionmir.storage.opening import open_store
from regionmir.storage.store import FileStore, Incoming

__all__ = ["FileStore", "Files", "Incoming", "OsFiles", "open_store"]
