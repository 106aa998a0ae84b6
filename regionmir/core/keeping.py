"""What is kept of the objects that came: by rule, and in fact."""

from enum import StrEnum


class StoragePolicy(StrEnum):
    """What is kept of an object once it has been worked on."""

    KEEP = "keep"
    """The object as received."""
    REDUCED = "reduced"
    """A reduced copy: what pages, result objects and drawn boxes need."""
    REGIONS = "regions"
    """Nothing but regions and embeddings."""


class Kept(StrEnum):
    """What is there of an instance's object."""

    OBJECT = "object"
    REDUCED = "reduced"
    NOTHING = "nothing"
