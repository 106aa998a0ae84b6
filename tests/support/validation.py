"""What other people's programs say of an object, without what is known to be no fault of it."""

import subprocess
from collections.abc import Iterable
from pathlib import Path

ACCEPTED_WARNINGS = (
    "Unrecognized defined term <99RGNMIR>",  # a private scheme; CodingSchemeIdentificationSequence explains it
    "The VR checker does not support this Specific Character Set",  # of its own limits
    "Reading unknown/unsupported SpecificCharacterSet",
    "needed to build DICOMDIR - Study",  # time or ID that the image itself lacks: nothing is invented
    "Retired Person Name form",  # names of one component, taken over from the image as they are
    "Check for template constraints not yet supported",  # of dsrdump: of its own limits
)
"""What the peers may say of a result, and why that is no fault of ours."""


def said_by(*command: str | Path) -> list[str]:
    """Return what a program says on either channel, line by line; it must succeed."""
    done = subprocess.run([str(word) for word in command], capture_output=True, timeout=120)
    lines = (done.stdout + done.stderr).decode("utf-8", "replace").splitlines()
    assert done.returncode == 0, lines
    return [line for line in lines if line.strip()]


def complaints(lines: Iterable[str]) -> list[str]:
    """Return the errors and warnings among the lines."""
    return [
        line
        for line in lines
        if line.startswith(("Error", "Warning", "E:", "W:", "F:"))
        and not any(known in line for known in ACCEPTED_WARNINGS)
    ]
