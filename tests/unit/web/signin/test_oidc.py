"""What an OpenID provider must say before we believe it."""

import base64
import hashlib
import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet, OctKey, RSAKey

from db.web_sessions import Visit
from regionmir.core.errors import ConfigurationError
from regionmir.core.settings import Settings
from regionmir.web.signin.errors import SignInRefused
from regionmir.web.signin.identity import Identity
from regionmir.web.signin.oidc import Provider

ISSUER = "https://login.example/realm"
SETTINGS = Settings(
    signin="oidc",
    oidc_issuer=ISSUER,
    oidc_client_id="regionmir",
    http_external_url="https://us.example",
    oidc_groups_claim="realm_access.roles",
)
KEY = RSAKey.generate_key(2048, {"kid": "one"})


class FakeProvider:
    """Answers as a provider would; what it says can be changed."""

    def __init__(self) -> None:
        self.metadata: dict[str, Any] = {
            "issuer": ISSUER,
            "authorization_endpoint": f"{ISSUER}/auth",
            "token_endpoint": f"{ISSUER}/token",
            "userinfo_endpoint": f"{ISSUER}/me",
            "jwks_uri": f"{ISSUER}/keys",
        }
        self.claims: dict[str, Any] = {
            "iss": ISSUER,
            "sub": "4711",
            "aud": "regionmir",
            "iat": int(time.time()),
            "exp": int(time.time()) + 300,
            "preferred_username": "mueller",
            "realm_access": {"roles": ["chest"]},
        }
        self.user_info: dict[str, Any] = {"sub": "4711"}
        self.key, self.algorithm, self.published = KEY, "RS256", KEY
        self.sent: list[httpx.Request] = []
        self.status = 200

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        path = str(request.url).removeprefix(ISSUER)
        if path == "/token":
            header = {"alg": self.algorithm, "kid": "one"}
            token = jwt.encode(header, dict(self.claims), self.key, algorithms=["RS256", "HS256"])
            return httpx.Response(self.status, json={"access_token": "a", "id_token": token})
        answers: dict[str, Any] = {
            "/.well-known/openid-configuration": self.metadata,
            "/keys": KeySet([self.published]).as_dict(private=False),
            "/me": self.user_info,
        }
        return httpx.Response(self.status, json=answers[path])


@pytest.fixture
def fake() -> FakeProvider:
    return FakeProvider()


@pytest.fixture
def provider(fake: FakeProvider) -> Iterator[Provider]:
    made = Provider(SETTINGS, httpx.Client(transport=httpx.MockTransport(fake)))
    yield made
    made.close()


def came_back(fake: FakeProvider, provider: Provider, **claims: Any) -> Identity:
    """Return whom the provider vouches for, with these claims changed (None: left out)."""
    _, visit = provider.visit("/")
    changed = fake.claims | {"nonce": visit.nonce} | claims
    fake.claims = {name: value for name, value in changed.items() if value is not None}
    return provider.identity("code", visit)


def test_the_browser_is_sent_with_state_nonce_and_a_challenge_that_the_code_is_redeemed_with(
    fake: FakeProvider, provider: Provider
) -> None:
    url, visit = provider.visit("/studies/1")
    asked = dict(parse_qsl(urlsplit(url).query))
    assert url.startswith(f"{ISSUER}/auth?")
    assert asked["redirect_uri"] == "https://us.example/sign-in/oidc/callback"
    assert (asked["response_type"], asked["state"], asked["nonce"]) == ("code", visit.state, visit.nonce)
    assert (visit.next_path, asked["code_challenge_method"]) == ("/studies/1", "S256")
    fake.claims["nonce"] = visit.nonce
    provider.identity("the code", visit)
    (redeemed,) = [request for request in fake.sent if request.url.path.endswith("/token")]
    form = parse_qs(redeemed.content.decode())
    digest = hashlib.sha256(form["code_verifier"][0].encode()).digest()
    assert base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == asked["code_challenge"]
    assert (form["code"], form["redirect_uri"]) == (["the code"], [asked["redirect_uri"]])
    assert form["client_id"] == ["regionmir"]


def test_two_visits_share_nothing(provider: Provider) -> None:
    one, other = (provider.visit("/")[1] for _ in range(2))
    assert not {one.state, one.nonce, one.code_verifier} & {other.state, other.nonce, other.code_verifier}


def test_a_person_is_known_by_issuer_and_subject_and_groups_may_lie_deeper(
    fake: FakeProvider, provider: Provider
) -> None:
    found = came_back(fake, provider)
    assert (found.subject, found.name, found.groups) == (f"{ISSUER}|4711", "mueller", ("chest",))


def test_what_the_id_token_lacks_is_asked_of_the_user_info_endpoint(fake: FakeProvider, provider: Provider) -> None:
    fake.user_info |= {"preferred_username": "schmidt", "realm_access": {"roles": ["pacs"]}, "nonce": "other"}
    found = came_back(fake, provider, preferred_username=None, realm_access=None)
    assert (found.name, found.groups) == ("schmidt", ("pacs",))


def test_user_info_of_another_person_is_refused(fake: FakeProvider, provider: Provider) -> None:
    fake.user_info["sub"] = "4712"
    with pytest.raises(SignInRefused):
        came_back(fake, provider, realm_access=None)


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "of another visit"},
        {"nonce": None},
        {"aud": "another client"},
        {"aud": ["regionmir", "other"]},
        {"aud": ["regionmir"], "azp": "other"},
        {"iss": "https://evil.example"},
        {"exp": 1},
        {"exp": None},
        {"iat": None},
        {"sub": None},
    ],
)
def test_a_token_for_somebody_or_something_else_is_refused(
    fake: FakeProvider, provider: Provider, claims: dict[str, Any]
) -> None:
    with pytest.raises(SignInRefused, match="did not confirm"):
        came_back(fake, provider, **claims)


def test_several_audiences_are_believed_if_we_are_the_authorised_party(fake: FakeProvider, provider: Provider) -> None:
    assert came_back(fake, provider, aud=["regionmir", "other"], azp="regionmir").name == "mueller"


def test_a_token_signed_by_another_key_is_refused(fake: FakeProvider, provider: Provider) -> None:
    fake.key = RSAKey.generate_key(2048, {"kid": "one"})
    with pytest.raises(SignInRefused, match="did not confirm"):
        came_back(fake, provider)


def test_a_token_signed_with_the_public_key_as_a_shared_secret_is_refused(
    fake: FakeProvider, provider: Provider
) -> None:
    fake.key, fake.algorithm = OctKey.import_key(base64.b64encode(KEY.as_pem(private=False)).decode()), "HS256"
    with pytest.raises(SignInRefused, match="did not confirm"):
        came_back(fake, provider)


def test_an_unsigned_token_is_refused(fake: FakeProvider, provider: Provider) -> None:
    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    unsigned = f"{part({'alg': 'none'})}.{part(fake.claims | {'nonce': 'n'})}."
    with pytest.raises(SignInRefused, match="did not confirm"):
        provider.verified(unsigned, "n")


def test_a_key_that_the_provider_has_changed_meanwhile_is_asked_for(fake: FakeProvider, provider: Provider) -> None:
    came_back(fake, provider)
    fake.key = fake.published = RSAKey.generate_key(2048, {"kid": "one"})
    assert came_back(fake, provider).name == "mueller"


@pytest.mark.parametrize("status", [500, 503])
def test_a_provider_that_is_away_is_no_failed_sign_in(fake: FakeProvider, provider: Provider, status: int) -> None:
    provider.metadata()
    fake.status = status
    with pytest.raises(SignInRefused, match="cannot be reached") as caught:
        provider.identity("code", Visit("s", "n", "v", "/"))
    assert caught.value.status == 503


def test_a_code_that_the_provider_does_not_take_is_refused(fake: FakeProvider, provider: Provider) -> None:
    provider.metadata()
    fake.status = 400
    with pytest.raises(SignInRefused) as caught:
        provider.identity("stolen", Visit("s", "n", "v", "/"))
    assert "stolen" not in f"{caught.value} {caught.value.reason}"


@pytest.mark.parametrize(
    "metadata",
    [{"issuer": "https://other.example"}, {"token_endpoint": "http://login.example/token"}, {"jwks_uri": ""}],
)
def test_a_provider_of_another_name_or_without_tls_is_not_used(
    fake: FakeProvider, provider: Provider, metadata: dict[str, Any]
) -> None:
    fake.metadata |= metadata
    with pytest.raises(ConfigurationError, match="oidc_issuer"):
        provider.visit("/")


def test_a_confidential_client_shows_its_secret_from_the_file(fake: FakeProvider, tmp_path: Any) -> None:
    (tmp_path / "secret").write_text("s3cret+\n")
    settings = SETTINGS.model_copy(update={"oidc_client_secret_file": tmp_path / "secret"})
    provider = Provider(settings, httpx.Client(transport=httpx.MockTransport(fake)))
    came_back(fake, provider)
    provider.close()
    (redeemed,) = [request for request in fake.sent if request.url.path.endswith("/token")]
    assert base64.b64decode(redeemed.headers["authorization"].removeprefix("Basic ")) == b"regionmir:s3cret%2B"
    assert b"s3cret" not in redeemed.content
