"""Passwords of local users: Argon2id with the parameters of RFC 9106 (second recommended choice: 64 MiB)."""

import re
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from regionmir.core.errors import InvalidIdentifier

LEAST_LENGTH, MOST_LENGTH = 12, 256
_NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")
_HASHER = PasswordHasher()


def parse_name(text: str) -> str:
    """Return the name of a local user in its one form. Raises `InvalidIdentifier`."""
    name = text.strip().lower()
    if not _NAME.fullmatch(name):
        raise InvalidIdentifier("a user name has 1 to 64 of a-z 0-9 . _ @ - and begins with a letter or digit")
    return name


def hash_password(password: str, name: str) -> str:
    """Return the hash to keep. Raises `InvalidIdentifier` if the password is too short, too long or the name."""
    if not LEAST_LENGTH <= len(password) <= MOST_LENGTH:
        raise InvalidIdentifier(f"a password has {LEAST_LENGTH} to {MOST_LENGTH} characters")
    if password.lower() == name or len(set(password)) < 4:
        raise InvalidIdentifier("this password is too easy to guess")
    return _HASHER.hash(password)


def hash_again(password: str) -> str:
    """Return the hash under today's parameters of a password that was just found right."""
    return _HASHER.hash(password)


def is_password(kept: str | None, password: str) -> bool:
    """True if `password` is the one whose hash was kept; takes as long where nobody has one."""
    try:
        matches = _HASHER.verify(kept or _nobody(), password[: MOST_LENGTH + 1])
    except (VerificationError, InvalidHashError):
        return False
    return matches and kept is not None


def is_outdated(kept: str) -> bool:
    """True if a hash was made with weaker parameters than today's."""
    return _HASHER.check_needs_rehash(kept)


@cache
def _nobody() -> str:
    return _HASHER.hash("nobody's password")
