"""What peers get wrong and what they are told. `tests/integration/dicom_node/test_bad_input.py` does each of it."""

from typing import Final, NamedTuple

from dicom_node.status import DESTINATION_UNKNOWN, NOT_AUTHORIZED, SIMILAR, SUCCESS
from regionmir.admin.conformance.tables import markdown_table

INVALID_IDENTIFIER: Final = 0xA900


class BadInput(NamedTuple):
    """One fault. `told` is (a part of) the Error Comment, or the state of an instance that is stored all the same."""

    what: str
    status: int
    told: str


BAD_INPUT: Final[dict[str, BadInput]] = {
    "unknown region": BadInput(
        "a token with an unknown region", SIMILAR["unknown-region"].status, "unknown region; known: "
    ),
    "unknown anchor": BadInput("a token with an unknown anchor", SIMILAR["unknown-anchor"].status, "no such anchor"),
    "waiting anchor": BadInput("an anchor that is not indexed yet", SIMILAR["not-indexed"].status, "not indexed yet"),
    "other modality": BadInput(
        "an anchor of another modality", SIMILAR["unsupported-anchor"].status, "no frontal chest radiograph"
    ),
    "contradiction": BadInput(
        "Study Description and Patient's Name with different expressions",
        SIMILAR["contradiction"].status,
        "ask for different things",
    ),
    "k of 0": BadInput("`k=0`", SIMILAR["bad-token"].status, "must be 1 to 200"),
    "k of a million": BadInput("`k=1000000`", SIMILAR["bad-token"].status, "must be 1 to 200"),
    "wildcards only": BadInput("a query of wildcards only, at `RGN_*`", SUCCESS, ""),
    "undecodable": BadInput("a key that its character set does not decode", INVALID_IDENTIFIER, "SpecificCharacterSet"),
    "no right": BadInput("a query of an AE without the right", NOT_AUTHORIZED, "this AE may not query"),
    "unknown destination": BadInput("a C-MOVE to an unknown AE", DESTINATION_UNKNOWN, "move destination unknown"),
    "aborting sender": BadInput("a sender that aborts in the middle of a data set", SUCCESS, "nothing stays"),
    "aborting destination": BadInput(
        "a C-MOVE destination that aborts in the middle of every data set", 0xA702, "ended the association"
    ),
    "implicit only": BadInput(
        "a peer that speaks Implicit VR Little Endian only, in all services", SUCCESS, "converted without loss"
    ),
    "lacking instance": BadInput(
        "an SR that refers to instances that are not here", SUCCESS, "annotates an instance that is not here"
    ),
    "own result": BadInput("a result of our own that is sent back", SUCCESS, "own_copy"),
    "box outside": BadInput("an SR with a box outside the image", SUCCESS, "box outside the image"),
}


def bad_input_table() -> str:
    """Return the faults with their statuses."""
    rows = [(one.what, f"{one.status:04X}", one.told) for one in BAD_INPUT.values()]
    return markdown_table(("what", "status", "Error Comment holds, or what becomes of it"), rows)
