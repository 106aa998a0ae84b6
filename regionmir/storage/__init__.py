"""Objects on disk: streamed in, made durable under the hash of their data set, read and deleted."""

from regionmir.storage.files import Files, OsFiles
from regionmir.storage.store import FileStore, Incoming

__all__ = ["FileStore", "Files", "Incoming", "OsFiles"]
