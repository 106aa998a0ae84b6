"""What a reader met and survived: counted by kind, to be printed."""

from collections import Counter
from collections.abc import Mapping
from enum import StrEnum


class Noise(StrEnum):
    """Kinds of noise, each with what is done about it."""

    CUT = "box over the border of the image: cut"
    OUTSIDE = "box outside the image: left out"
    NO_AREA = "box without area: left out"
    NO_NUMBER = "box with a corner that is no number: left out"
    WRONG_SIDE = "box on the wrong side of the patient: left out"
    FROM_224 = "box without original pixels: computed from the frame of 224"
    SURPLUS_OBJECT = "second box of one anatomy: left out"
    NO_SLOT = "box of an anatomy that the model has no slot for: left out"
    UNKNOWN_ANATOMY = "box of an unknown anatomy: left out"
    NOT_ALL_ANATOMIES = "film without a box of every anatomy: kept"
    NO_BOX = "film without any box: left out"
    OTHER_SIZE = "film whose boxes are of an image of another size: left out"
    NO_IMAGE = "film whose image is not there: left out"
    NO_GRAPH = "film without scene graph: left out"
    OTHER_PATIENT = "film of another patient by its scene graph: left out"
    LISTED_TWICE = "film listed a second time: left out"
    NOT_LISTED = "film that no list assigns to a patient and a split: left out"
    AVOIDED = "film of a patient to avoid: left out"
    MALFORMED = "malformed statement or object: left out"
    STATEMENT_WITHOUT_ANATOMY = "statement about an anatomy that the model has no slot for: left out"
    CONTRADICTION = "finding both stated and denied of one region: taken as stated"


class NoiseReport:
    """How often each kind was met in the last pass over a data set."""

    def __init__(self) -> None:
        self._counts: Counter[Noise] = Counter()

    @property
    def counts(self) -> Mapping[str, int]:
        """Return the counts of the kinds that occurred, in the order of `Noise`."""
        return {kind.value: self._counts[kind] for kind in Noise if self._counts[kind]}

    def add(self, kind: Noise, count: int = 1) -> None:
        """Count one kind."""
        self._counts[kind] += count

    def clear(self) -> None:
        """Begin a new pass."""
        self._counts.clear()

    def __str__(self) -> str:
        return "\n".join(f"{count:>9,}  {kind}" for kind, count in self.counts.items()) or "no noise"
