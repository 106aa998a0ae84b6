"""What `regionmir doctor` says of the web process: who can reach it, and whether they sign in."""

from collections.abc import Iterator

from regionmir.admin.findings import Finding, Level
from regionmir.core.errors import RegionMirError
from regionmir.core.settings import Settings
from regionmir.web.signin.exposure import faults, has_tls, is_loopback

SUBJECT = "web access"


def web_access(settings: Settings) -> Iterator[Finding]:
    """Yield whether the web process would start as it is set, and what it would show to whom."""
    found = faults(settings)
    for fault in (*found.exposed, *found.wrong):
        yield Finding(Level.FAIL, SUBJECT, fault, "the web process does not start until this is put right")
    if found.exposed or found.wrong:
        return
    where = f"{settings.http_host}:{settings.http_port}"
    beyond = not is_loopback(settings.http_host)
    if settings.signin == "none" and beyond:
        said = f"exposed without sign-in: whoever reaches {where} sees pseudonymous studies and pictures"
        yield Finding(Level.WARN, SUBJECT, said, "set REGIONMIR_SIGNIN to local, oidc or proxy; see docs/sign-in.md")
    elif settings.signin == "none":
        yield Finding(Level.OK, SUBJECT, "this machine only, without sign-in: pseudonyms, read-only")
    else:
        yield Finding(Level.OK, SUBJECT, f"{where}, sign-in: {settings.signin}")
    if beyond and not has_tls(settings):
        said = f"{where} speaks no TLS: passwords and pictures can be read on the way to it"
        yield Finding(Level.WARN, SUBJECT, said, "let only a proxy that speaks TLS reach it, or set a certificate")
    yield from _local_users(settings)


def _local_users(settings: Settings) -> Iterator[Finding]:
    """Say where nobody could sign in."""
    if settings.signin != "local" or settings.database_url is None:
        return
    from db import users
    from regionmir.admin.context import open_database
    from regionmir.core.records import Way

    try:
        with open_database(settings) as database, database.session() as session:
            count = sum(user.way is Way.LOCAL and not user.disabled for user in users.listing(session))
    except RegionMirError as error:
        yield Finding(Level.FAIL, "users", str(error), "put the database right first")
        return
    if count == 0:
        yield Finding(Level.WARN, "users", "none can sign in", "add one: `regionmir users add NAME --role admin`")
    else:
        yield Finding(Level.OK, "users", f"{count} can sign in")
