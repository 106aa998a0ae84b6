"""Users and their sessions: what happens when somebody signs in, asks, and signs out. All of it is audited."""

import hashlib
import hmac
import secrets

from db import audit, users, web_sessions
from db.engine import Database, Session
from db.users import User
from db.web_sessions import Visit
from regionmir.core.errors import InvalidIdentifier
from regionmir.core.records import Role, Way
from regionmir.core.settings import Settings
from regionmir.web.signin import passwords
from regionmir.web.signin.cookies import hashed, new_token
from regionmir.web.signin.errors import SignInRefused, TooManyAttempts
from regionmir.web.signin.identity import Granted, Groups, Identity, groups_of

SIGNED_IN, FAILED, SIGNED_OUT, ADDED, CHANGED = (
    "signed in",
    "sign-in failed",
    "signed out",
    "user added",
    "role changed",
)

THROTTLED_FOR_S = 900
"""Failures of so many seconds are counted, and so long is the longest wait."""
MOST_FAILURES = (5, 20, 50)
"""Of one name from one address, of one address, of one name from anywhere."""
_VISIT_S = 600.0
_TOUCHES_PER_IDLE = 30


class Accounts:
    """The users of one database, as the web process sees them."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._groups: Groups = groups_of(settings)
        self._idle_s, self._lasts_s = settings.session_idle_s, settings.session_absolute_s
        self._salt = secrets.token_bytes(32)

    def whose(self, token: str) -> User | None:
        """Return whose session this is, None if it is over or nobody's."""
        if not token:
            return None
        touch_s = self._idle_s / _TOUCHES_PER_IDLE
        with self._database.session() as session:
            return web_sessions.find(session, hashed(token), idle_s=self._idle_s, touch_s=touch_s)

    def sign_in_local(self, name: str, password: str, address: str, old_token: str = "") -> str:
        """Return the token of a new session of a local user. Raises `SignInRefused`, always with the same words."""
        actor = self._actor(name)
        with self._database.session() as session:
            self._throttle(session, actor, address)
            found = users.with_password(session, actor)
        user, kept = found or (None, None)
        right = passwords.is_password(kept, password)
        if user is None or not right or user.disabled:
            why = "unknown name" if user is None else "wrong password" if not right else "disabled"
            self.note_failure(why, actor, address, Way.LOCAL)
            raise SignInRefused(why, "The name or the password is wrong.", status=401)
        with self._database.session() as session:
            if kept is not None and passwords.is_outdated(kept):
                users.set_password(session, user.pk, passwords.hash_again(password))
            return self._start(session, user, address, old_token)

    def sign_in_external(self, identity: Identity, address: str, old_token: str = "") -> str:
        """Return the token of a new session of somebody for whom others vouch. Raises `SignInRefused`."""
        try:
            granted = self._groups.granted(identity.groups)
            with self._database.session() as session:
                user = self._known(session, identity, granted, address)
                return self._start(session, user, address, old_token)
        except SignInRefused as refusal:
            self.note_failure(refusal.reason, identity.name, address, identity.way)
            raise

    def is_still(self, user: User, identity: Identity) -> bool:
        """True if a session of `user` is one of this identity, with what its groups allow now."""
        granted = self._groups.granted(identity.groups)
        same = (user.way, user.subject) == (identity.way, identity.subject)
        return same and granted in (None, Granted(user.role, user.identified))

    def sign_out(self, token: str, name: str, address: str) -> None:
        """End a session."""
        with self._database.session() as session:
            if web_sessions.end(session, hashed(token)):
                audit.record(session, SIGNED_OUT, actor=name, address=address, detail={})

    def note_failure(self, reason: str, actor: str, address: str, way: Way) -> None:
        """Record that somebody was not signed in."""
        detail = {"reason": reason, "way": way.value}
        with self._database.session() as session:
            audit.record(session, FAILED, actor=actor, address=address, detail=detail)

    def require_patience(self, address: str) -> None:
        """Raise `TooManyAttempts` if too many have failed from this address lately."""
        with self._database.session() as session:
            self._throttle(session, "", address)

    def leave(self, visit: Visit) -> str:
        """Keep what must come back from the provider and return the token that finds it."""
        token = new_token()
        with self._database.session() as session:
            web_sessions.leave(session, hashed(token), visit, lasts_s=_VISIT_S)
        return token

    def come_back(self, token: str) -> Visit | None:
        """Return what was kept under a token, once."""
        if not token:
            return None
        with self._database.session() as session:
            return web_sessions.come_back(session, hashed(token))

    def _actor(self, name: str) -> str:
        """Return a name that is one of ours in its one form; else a stand-in for it: it may be a password."""
        try:
            parsed = passwords.parse_name(name)
        except InvalidIdentifier:
            parsed = ""
        with self._database.session() as session:
            if parsed and users.with_password(session, parsed) is not None:
                return parsed
        digest = hmac.new(self._salt, name.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
        return f"unknown {digest[:12]}"

    def _throttle(self, session: Session, actor: str, address: str) -> None:
        """Raise `TooManyAttempts` after too many failures. An unknown name is counted like one that is known."""
        counts = audit.failures(
            session, failed=FAILED, succeeded=SIGNED_IN, actor=actor, address=address, within_s=THROTTLED_FOR_S
        )
        if any(count >= most for count, most in zip(counts, MOST_FAILURES, strict=True)):
            raise TooManyAttempts(THROTTLED_FOR_S)

    def _known(self, session: Session, identity: Identity, granted: Granted | None, address: str) -> User:
        """Return the user of an identity, new or as it was, with what it is granted now."""
        before = users.find(session, identity.way, identity.subject)
        if before is not None and before.disabled:
            raise SignInRefused("disabled", "Your account is disabled; ask an administrator.")
        had = None if before is None else Granted(before.role, before.identified)
        has = granted or had or Granted(Role.VIEWER, False)
        user = users.put_external(
            session, identity.way, identity.subject, identity.name, role=has.role, identified=has.identified
        )
        if has != had:
            kind, by = (ADDED if had is None else CHANGED), identity.way.value
            audit.record(session, kind, actor=by, address=address, detail=rights_of(user))
        return user

    def _start(self, session: Session, user: User, address: str, old_token: str) -> str:
        """Start a session under a new token; whatever the browser held before ends."""
        token = new_token()
        if old_token:
            web_sessions.end(session, hashed(old_token))
        web_sessions.start(session, hashed(token), user.pk, address, idle_s=self._idle_s, lasts_s=self._lasts_s)
        users.note_sign_in(session, user.pk)
        audit.record(session, SIGNED_IN, actor=user.name, address=address, detail=rights_of(user))
        return token


def rights_of(user: User) -> dict[str, object]:
    """Return what the audit trail holds of a user."""
    return {
        "user": user.name,
        "way": user.way.value,
        "subject": user.subject,
        "role": user.role.value,
        "identified": user.identified,
        "disabled": user.disabled,
    }
