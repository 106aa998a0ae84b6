"""Users of the web process who have signed in: what their browsers then hold."""

from dataclasses import dataclass

from db import users, web_sessions
from db.engine import Database
from regionmir.core.records import Role, Way
from regionmir.web.signin.cookies import csrf_of, hashed, new_token, session_cookie


@dataclass(frozen=True, slots=True)
class SignedIn:
    """One session."""

    token: str

    @property
    def headers(self) -> dict[str, str]:
        """What the browser sends with every request."""
        return {"Cookie": f"{session_cookie(secure=False).name}={self.token}"}

    @property
    def csrf(self) -> str:
        """What our pages add to their forms."""
        return csrf_of(self.token)


def signed_in(database: Database, role: Role = Role.READER, *, identified: bool = False) -> SignedIn:
    """Return a session of the user who is called as the role; somebody else vouches for it, so it has no password."""
    token = new_token()
    with database.session() as session:
        subject = f"{role.value}, identified" if identified else role.value
        user = users.put_external(session, Way.PROXY, subject, role.value, role=role, identified=identified)
        web_sessions.start(session, hashed(token), user.pk, "127.0.0.1", idle_s=600, lasts_s=600)
    return SignedIn(token)
