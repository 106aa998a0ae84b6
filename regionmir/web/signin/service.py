"""Sign-in of one web process: composed here from the settings, asked by the door and by the pages of sign-in."""

from dataclasses import dataclass, field

from anyio import CapacityLimiter

from db.engine import Database
from regionmir.core.settings import Settings
from regionmir.web.signin.accounts import Accounts
from regionmir.web.signin.caller import FindBearer
from regionmir.web.signin.cookies import Cookie, session_cookie, visit_cookie
from regionmir.web.signin.exposure import Network, is_secure, proxies
from regionmir.web.signin.oidc import Provider


@dataclass(frozen=True, slots=True)
class SignIn:
    """How people sign in here."""

    settings: Settings
    accounts: Accounts
    database: Database
    proxies: tuple[Network, ...]
    cookie: Cookie
    visit_cookie: Cookie
    provider: Provider | None
    find_bearer: FindBearer | None = None
    """Whom a bearer token speaks for; None: there are no tokens here."""
    one_password: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(1))
    """One password is looked at at a time: each takes 64 MiB and much of a core, and failures are counted between."""

    @property
    def way(self) -> str:
        """The setting `signin`."""
        return self.settings.signin

    def close(self) -> None:
        """Close all connections."""
        self.database.close()
        if self.provider is not None:
            self.provider.close()


def make_sign_in(settings: Settings, find_bearer: FindBearer | None = None) -> SignIn:
    """Return sign-in as set, with no connection made yet. Raises `ConfigurationError`."""
    database = Database(settings.require_database_url(), application_name="regionmir web sign-in")
    secure = is_secure(settings)
    return SignIn(
        settings,
        Accounts(database, settings),
        database,
        proxies(settings),
        session_cookie(secure),
        visit_cookie(secure),
        Provider(settings) if settings.signin == "oidc" else None,
        find_bearer,
    )
