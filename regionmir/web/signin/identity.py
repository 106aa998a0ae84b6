"""Somebody for whom an OpenID provider or a reverse proxy vouches, and what the groups they name allow."""

from dataclasses import dataclass

from regionmir.core.records import Role, Way
from regionmir.core.settings import Settings
from regionmir.web.signin.errors import SignInRefused
from regionmir.web.signin.exposure import listed

_LONGEST_NAME, _LONGEST_SUBJECT = 128, 512


@dataclass(frozen=True, slots=True)
class Identity:
    """Who somebody else says this is."""

    way: Way
    subject: str
    """Always the same for the same person, never for another."""
    name: str
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Granted:
    """What a user may do and see."""

    role: Role
    identified: bool


@dataclass(frozen=True, slots=True)
class Groups:
    """Which groups of a provider or proxy mean what; all empty: roles are set by `regionmir users role`."""

    viewer: frozenset[str]
    reader: frozenset[str]
    admin: frozenset[str]
    identified: frozenset[str]

    def granted(self, groups: tuple[str, ...]) -> Granted | None:
        """Return what the groups of a user allow, None if groups say nothing here.

        Raises `SignInRefused` for a user of none of the groups that may sign in.
        """
        has = frozenset(groups)
        if self.viewer and not has & (self.viewer | self.reader | self.admin):
            raise SignInRefused("no group", "Your account may not use RegionMIR; ask an administrator for access.")
        if not (self.viewer or self.reader or self.admin or self.identified):
            return None
        role = Role.ADMIN if has & self.admin else Role.READER if has & self.reader else Role.VIEWER
        return Granted(role, bool(has & self.identified))


def groups_of(settings: Settings) -> Groups:
    """Return which groups mean what."""
    return Groups(
        *(
            frozenset(listed(text))
            for text in (
                settings.viewer_groups,
                settings.reader_groups,
                settings.admin_groups,
                settings.identified_groups,
            )
        )
    )


def checked_identity(way: Way, subject: str, name: str, groups: tuple[str, ...]) -> Identity:
    """Return an identity as it is kept. Raises `SignInRefused` if its subject cannot be one."""
    if not subject or len(subject) > _LONGEST_SUBJECT or not subject.isprintable():
        raise SignInRefused("no subject", "The sign-in service did not say who you are.", status=502)
    shown = "".join(character for character in name if character.isprintable()).strip()[:_LONGEST_NAME]
    return Identity(way, subject, shown or subject[:_LONGEST_NAME], groups)
