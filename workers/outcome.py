"""What a destination's answer to a result means: taken, try again later, or never try again. Data, no decisions."""

from enum import Enum
from typing import Final

from regionmir.scu.status import Status


class Verdict(Enum):
    """What is done after a C-STORE."""

    DELIVERED = "delivered"
    LATER = "later"
    """The destination lacks something for the moment: tried for about two days."""
    DOUBTFUL = "doubtful"
    """Perhaps this object is at fault, perhaps the destination: tried a few times."""
    NEVER = "never"
    """The same object would be refused again: to the dead letters at once."""


STATUSES: Final[tuple[tuple[int, int, Verdict], ...]] = (
    # First and last status of a range, both inclusive; the first line that fits counts (PS3.4 B.2.3, PS3.7 Annex C).
    (0x0000, 0x0000, Verdict.DELIVERED),
    (0x0001, 0x0001, Verdict.DELIVERED),  # warning
    (0x0107, 0x0107, Verdict.DELIVERED),  # attribute list warning
    (0x0116, 0x0116, Verdict.DELIVERED),  # attribute value out of range, a warning
    (0x0111, 0x0111, Verdict.DELIVERED),  # duplicate SOP Instance: it is there
    (0xB000, 0xBFFF, Verdict.DELIVERED),  # coercion, elements discarded, does not match SOP class: warnings
    (0xA700, 0xA7FF, Verdict.LATER),  # out of resources
    (0x0213, 0x0213, Verdict.LATER),  # resource limitation
    (0x0105, 0x0106, Verdict.NEVER),  # no such attribute, invalid value
    (0x0110, 0x0110, Verdict.DOUBTFUL),  # processing failure: archives also say so when their database is away
    (0x0112, 0x0124, Verdict.NEVER),  # no such instance or class ... not authorized
    (0x0210, 0x0212, Verdict.NEVER),  # duplicate invocation, unrecognized operation, mistyped argument
    (0xA800, 0xA9FF, Verdict.NEVER),  # SOP class not supported, data set does not match it
    (0xC000, 0xCFFF, Verdict.NEVER),  # cannot understand
)


def verdict(status: Status) -> Verdict:
    """Return what a C-STORE status means for a delivery; one that no table knows is doubtful."""
    return next((found for first, last, found in STATUSES if first <= status.code <= last), Verdict.DOUBTFUL)
