"""The pages of sign-in and sign-out."""

from typing import Annotated
from urllib.parse import urlencode

import structlog
from anyio import to_thread
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import RedirectResponse, Response

from db.web_sessions import Visit
from regionmir.core.errors import ConfigurationError
from regionmir.core.records import Way
from regionmir.web.signin.answers import own_path, page, refusal
from regionmir.web.signin.caller import CallerOf
from regionmir.web.signin.cookies import hashed
from regionmir.web.signin.errors import SignInRefused, TooManyAttempts
from regionmir.web.signin.forms import read_form
from regionmir.web.signin.identity import Identity
from regionmir.web.signin.oidc import CALLBACK, Provider
from regionmir.web.signin.service import SignIn

router = APIRouter()
log = structlog.get_logger(__name__)


def _sign_in(request: Request) -> SignIn:
    found = request.app.state.site.sign_in
    assert isinstance(found, SignIn)
    return found


SignInOf = Annotated[SignIn, Depends(_sign_in)]
NextPath = Annotated[str, Query(alias="next")]
_ERRORS = frozenset(
    {
        "access_denied",
        "login_required",
        "interaction_required",
        "consent_required",
        "invalid_scope",
        "server_error",
        "temporarily_unavailable",
        "invalid_request",
        "unauthorized_client",
    }
)
"""What a provider may say instead of a code (RFC 6749 4.1.2.1, OpenID Connect Core 3.1.2.6)."""


@router.api_route("/sign-in", methods=["GET", "HEAD"])
def show(sign_in: SignInOf, caller: CallerOf, wanted: NextPath = "/", out: bool = False) -> Response:
    """The page where one signs in; who is signed in already sees as whom, and can sign out."""
    if caller.way:
        can_sign_out = sign_in.way != "proxy"
        return page(title="Signed in", caller=caller, next_path=own_path(wanted), can_sign_out=can_sign_out)
    if sign_in.way not in ("local", "oidc"):
        return page(title="No sign-in", nobody=True)
    return _ask(sign_in, own_path(wanted), "You are signed out." if out else "")


@router.post("/sign-in")
async def enter(request: Request, sign_in: SignInOf, caller: CallerOf) -> Response:
    """Sign in with name and password."""
    if sign_in.way != "local":
        return refusal(request.headers, 404, "Not found", "Nobody signs in with a password here.")
    form = await read_form(request)
    next_path = own_path(form.get("next", "/"))
    try:
        token = await to_thread.run_sync(
            sign_in.accounts.sign_in_local,
            form.get("name", ""),
            form.get("password", ""),
            caller.address,
            sign_in.cookie.read(request.headers),
            limiter=sign_in.one_password,
        )
    except SignInRefused as error:
        log.warning("sign-in failed", why=error.reason)
        answer = _ask(sign_in, next_path, str(error), error.status)
        if isinstance(error, TooManyAttempts):
            answer.headers["Retry-After"] = str(error.wait_s)
        return answer
    return _entered(sign_in, token, next_path)


@router.post("/sign-out")
def leave(request: Request, sign_in: SignInOf, caller: CallerOf) -> Response:
    """End the session; the browser forgets it, and what it kept of our pages."""
    sign_in.accounts.sign_out(request.scope["state"]["session_token"], caller.name, caller.address)
    answer = RedirectResponse("/sign-in?out=true", 303)
    sign_in.cookie.clear(answer.headers)
    answer.headers["Clear-Site-Data"] = '"cache"'
    return answer


@router.get("/sign-in/oidc")
def visit_provider(request: Request, sign_in: SignInOf, caller: CallerOf, wanted: NextPath = "/") -> Response:
    """Send the browser to the OpenID provider."""
    if sign_in.provider is None:
        return refusal(request.headers, 404, "Not found", "Nobody signs in with an OpenID provider here.")
    try:
        sign_in.accounts.require_patience(caller.address)
        url, visit = sign_in.provider.visit(own_path(wanted))
    except (SignInRefused, ConfigurationError) as error:
        return _failed(request, error)
    answer = RedirectResponse(url, 303)
    sign_in.visit_cookie.write(answer.headers, sign_in.accounts.leave(visit))
    return answer


@router.get(CALLBACK)
def come_back(
    request: Request, sign_in: SignInOf, caller: CallerOf, state: str = "", code: str = "", error: str = ""
) -> Response:
    """Sign in whom the OpenID provider has sent back."""
    if sign_in.provider is None:
        return refusal(request.headers, 404, "Not found", "Nobody signs in with an OpenID provider here.")
    visit = sign_in.accounts.come_back(sign_in.visit_cookie.read(request.headers))
    if visit is None or hashed(state) != hashed(visit.state):
        said = "This sign-in was not begun in this browser, or too long ago. Sign in again."
        return refusal(request.headers, 400, "Not signed in", said)
    try:
        identity = _vouched(sign_in, sign_in.provider, visit, code, error, caller.address)
        token = sign_in.accounts.sign_in_external(identity, caller.address, sign_in.cookie.read(request.headers))
    except (SignInRefused, ConfigurationError) as refused:
        return _failed(request, refused)
    answer = _entered(sign_in, token, visit.next_path)
    sign_in.visit_cookie.clear(answer.headers)
    return answer


def _vouched(sign_in: SignIn, provider: Provider, visit: Visit, code: str, error: str, address: str) -> Identity:
    """Return who came back from the provider. Raises `SignInRefused`, recorded unless the provider is away."""
    try:
        if error or not code:
            reason = error if error in _ERRORS else "no code"
            raise SignInRefused(f"provider: {reason}", "The sign-in service did not let you in.", status=401)
        return provider.identity(code, visit)
    except SignInRefused as refused:
        if refused.status != 503:
            sign_in.accounts.note_failure(refused.reason, "unknown", address, Way.OIDC)
        raise


def _ask(sign_in: SignIn, next_path: str, said: str, status: int = 200) -> Response:
    """Return the page where one signs in."""
    if sign_in.way == "local":
        return page(status, message=said, form=True, next_path=next_path)
    return page(status, message=said, link=f"/sign-in/oidc?{urlencode({'next': next_path})}")


def _entered(sign_in: SignIn, token: str, next_path: str) -> Response:
    answer = RedirectResponse(next_path, 303)
    sign_in.cookie.write(answer.headers, token)
    return answer


def _failed(request: Request, error: SignInRefused | ConfigurationError) -> Response:
    if isinstance(error, SignInRefused):
        log.warning("sign-in failed", why=error.reason)
        return refusal(request.headers, error.status, "Not signed in", str(error))
    log.error("sign-in is not set up", why=str(error))
    return refusal(request.headers, 500, "Not signed in", "Sign-in is not set up rightly; tell an administrator.")
