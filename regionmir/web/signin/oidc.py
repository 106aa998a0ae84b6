"""The OpenID provider: authorization code flow with PKCE (OpenID Connect Core 3.1, RFC 7636), as one of its clients."""

import base64
import hashlib
import secrets
import threading
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import httpx
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from db.web_sessions import Visit
from regionmir.core.errors import ConfigurationError
from regionmir.core.records import Way
from regionmir.core.settings import Settings
from regionmir.web.signin.errors import SignInRefused
from regionmir.web.signin.exposure import is_loopback
from regionmir.web.signin.identity import Identity, checked_identity

CALLBACK = "/sign-in/oidc/callback"
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures by a key that only the provider has; `none` and shared secrets are none of them."""
_TIMEOUT_S = 10.0
_KEEP_METADATA_S = 3600.0
_LEEWAY_S = 60
_ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")
Claims = dict[str, Any]


class Provider:
    """One OpenID provider. Its metadata and keys are asked for when they are first needed, and kept for an hour."""

    def __init__(self, settings: Settings, client: httpx.Client | None = None) -> None:
        self._settings = settings
        self._client = client or httpx.Client(timeout=_TIMEOUT_S, follow_redirects=False)
        self._redirect_uri = settings.http_external_url.rstrip("/") + CALLBACK
        self._lock = threading.Lock()
        self._metadata: Claims | None = None
        self._keys: KeySet | None = None
        self._read_at = 0.0

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def visit(self, next_path: str) -> tuple[str, Visit]:
        """Return where to send a browser, and what must come back with it. Raises `SignInRefused`."""
        state, nonce = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        visit = Visit(state, nonce, secrets.token_urlsafe(48), next_path)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(visit.code_verifier.encode()).digest()).rstrip(b"=")
        asked = {
            "response_type": "code",
            "client_id": self._settings.oidc_client_id,
            "redirect_uri": self._redirect_uri,
            "scope": self._settings.oidc_scopes,
            "state": visit.state,
            "nonce": visit.nonce,
            "code_challenge": challenge.decode(),
            "code_challenge_method": "S256",
        }
        endpoint = str(self.metadata()["authorization_endpoint"])
        return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{urlencode(asked)}", visit

    def identity(self, code: str, visit: Visit) -> Identity:
        """Return who the provider says came back with this code. Raises `SignInRefused`."""
        answer = self._redeem(code, visit.code_verifier)
        claims = self.verified(str(answer.get("id_token", "")), visit.nonce)
        name, groups = self._settings.oidc_name_claim, self._settings.oidc_groups_claim
        if _claim(claims, name) is None or _claim(claims, groups) is None:
            claims = {**self._user_info(str(answer.get("access_token", "")), str(claims["sub"])), **claims}
        subject = f"{claims['iss']}|{claims['sub']}"
        shown = _claim(claims, name) or claims.get("name") or claims["sub"]
        return checked_identity(Way.OIDC, subject, str(shown), _texts(_claim(claims, groups)))

    def verified(self, id_token: str, nonce: str) -> Claims:
        """Return the claims of an ID token (OpenID Connect Core 3.1.3.7). Raises `SignInRefused`."""
        issuer, client = self.metadata()["issuer"], self._settings.oidc_client_id
        registry = jwt.JWTClaimsRegistry(
            leeway=_LEEWAY_S,
            iss={"essential": True, "value": issuer},
            aud={"essential": True, "value": client},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
            nonce={"essential": True, "value": nonce},
        )
        try:
            claims = self._decoded(id_token)
            registry.validate(claims)
        except (JoseError, ValueError) as error:
            raise SignInRefused(f"ID token: {type(error).__name__}", _NOT_BELIEVED, status=502) from None
        several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
        if claims.get("azp", None if several else client) != client:
            raise SignInRefused("ID token: azp", _NOT_BELIEVED, status=502)
        return claims

    def metadata(self) -> Claims:
        """Return the provider's metadata (OpenID Connect Discovery 4). Raises `SignInRefused`, `ConfigurationError`."""
        with self._lock:
            if self._metadata is None or time.monotonic() - self._read_at > _KEEP_METADATA_S:
                self._metadata, self._keys = self._read_metadata(), None
                self._read_at = time.monotonic()
            return self._metadata

    def _read_metadata(self) -> Claims:
        issuer = self._settings.oidc_issuer
        found = self._json("GET", issuer.rstrip("/") + "/.well-known/openid-configuration")
        if str(found.get("issuer", "")).rstrip("/") != issuer.rstrip("/"):
            raise ConfigurationError(f"oidc_issuer {issuer}: the provider there is of another name; use that")
        for name in _ENDPOINTS:
            endpoint = urlsplit(str(found.get(name, "")))
            if endpoint.scheme != "https" and not (endpoint.scheme == "http" and is_loopback(endpoint.hostname or "")):
                raise ConfigurationError(f"oidc_issuer {issuer}: its {name} is no https address")
        return found

    def _decoded(self, id_token: str) -> Claims:
        """Return the claims of a token whose signature is right; its key may have been made since we asked."""
        metadata = self.metadata()
        with self._lock:
            keys, fresh = self._keys, self._keys is None
        for _ in range(2):
            if keys is None:
                keys = self._keys = KeySet.import_key_set(self._json("GET", str(metadata["jwks_uri"])))  # type: ignore[arg-type]
            try:
                return jwt.decode(id_token, keys, algorithms=ALGORITHMS).claims
            except (JoseError, ValueError):
                if fresh:
                    raise
                keys, fresh = None, True
        raise AssertionError

    def _redeem(self, code: str, code_verifier: str) -> Claims:
        """Return what the token endpoint gives for a code (RFC 6749 4.1.3)."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect_uri,
            "code_verifier": code_verifier,
        }
        client, secret = self._settings.oidc_client_id, self._secret()
        methods = self.metadata().get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        basic = None
        if secret is not None and "client_secret_basic" in methods:
            basic = httpx.BasicAuth(quote(client, safe=""), quote(secret, safe=""))  # RFC 6749 2.3.1
        else:
            form |= {"client_id": client} | ({} if secret is None else {"client_secret": secret})
        return self._json("POST", str(self.metadata()["token_endpoint"]), data=form, auth=basic)

    def _user_info(self, access_token: str, subject: str) -> Claims:
        """Return the claims of the user-info endpoint (OpenID Connect Core 5.3), none where there is no such."""
        endpoint = self.metadata().get("userinfo_endpoint")
        if not endpoint or not access_token:
            return {}
        found = self._json("GET", str(endpoint), headers={"Authorization": f"Bearer {access_token}"})
        if found.get("sub") != subject:
            raise SignInRefused("user info of another", _NOT_BELIEVED, status=502)
        return found

    def _json(self, method: str, url: str, **options: Any) -> Claims:
        try:
            response = self._client.request(method, url, **options)
            answer = response.json() if response.is_success else None
        except (httpx.HTTPError, ValueError):
            raise SignInRefused("provider away", _AWAY, status=503) from None
        if response.is_server_error:
            raise SignInRefused("provider away", _AWAY, status=503)
        if not isinstance(answer, dict):
            raise SignInRefused(f"provider answered {response.status_code}", _NOT_BELIEVED, status=502)
        return answer

    def _secret(self) -> str | None:
        path = self._settings.oidc_client_secret_file
        if path is None:
            return None
        try:
            return path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            raise ConfigurationError(f"oidc_client_secret_file {path} cannot be read") from None


_AWAY = "The sign-in service cannot be reached at the moment. Try again in a minute."
_NOT_BELIEVED = (
    "The sign-in service did not confirm who you are. Sign in again; if it fails again, tell an administrator."
)


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    """Return a claim by its name, or by a path with dots such as `realm_access.roles`; None if it is not there."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _texts(value: Any) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [] if value is None else [value]
    return tuple(one for one in values if isinstance(one, str))
