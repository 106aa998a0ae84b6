"""Who may reach the web process without sign-in or TLS."""

from pathlib import Path
from typing import Any

import pytest
import trustme

from regionmir.admin.findings import Level
from regionmir.admin.web_checks import web_access
from regionmir.core.errors import ConfigurationError
from regionmir.core.settings import Settings
from regionmir.web.signin.exposure import is_secure, require_safe


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("tls")
    made = trustme.CA().issue_cert("regionmir.example")
    made.cert_chain_pems[0].write_to_path(folder / "certificate.pem")
    made.private_key_pem.write_to_path(folder / "key.pem")
    return {"http_tls_certificate": folder / "certificate.pem", "http_tls_key": folder / "key.pem"}


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_the_loopback_needs_neither_sign_in_nor_tls(host: str) -> None:
    require_safe(Settings(http_host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "node.example"])
def test_beyond_the_loopback_sign_in_and_tls_are_needed(host: str, certificate: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="REGIONMIR_SIGNIN"):
        require_safe(Settings(http_host=host, **certificate))
    with pytest.raises(ConfigurationError, match="REGIONMIR_HTTP_TLS_CERTIFICATE"):
        require_safe(Settings(http_host=host, signin="local"))
    require_safe(Settings(http_host=host, signin="local", **certificate))


def test_each_can_be_waived_by_its_own_setting_only(certificate: dict[str, Any]) -> None:
    require_safe(Settings(http_host="0.0.0.0", http_without_signin=True, **certificate))
    require_safe(Settings(http_host="0.0.0.0", http_without_tls=True, signin="local"))
    with pytest.raises(ConfigurationError, match="TLS"):
        require_safe(Settings(http_host="0.0.0.0", http_without_signin=True))
    with pytest.raises(ConfigurationError, match="nobody signs in"):
        require_safe(Settings(http_host="0.0.0.0", http_without_tls=True))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"http_tls_certificate": Path("/nowhere.pem")}, "go together"),
        ({"http_tls_certificate": Path("/nowhere.pem"), "http_tls_key": Path("/nowhere.key")}, "cannot be used"),
        ({"http_proxies": "10.0.0.300"}, "http_proxies"),
        ({"http_external_url": "regionmir.example"}, "http_external_url"),
        ({"http_external_url": "https://a.example/path"}, "http_external_url"),
        ({"http_external_url": "https://a.example:x"}, "http_external_url"),
        ({"signin": "proxy"}, "REGIONMIR_HTTP_PROXIES"),
        ({"signin": "oidc"}, "REGIONMIR_OIDC_ISSUER"),
        ({"signin": "oidc", "oidc_issuer": "http://login.example", "oidc_client_id": "us",
          "http_external_url": "https://us.example"}, "must be https"),
        ({"signin": "oidc", "oidc_issuer": "https://login.example", "oidc_client_id": "us",
          "http_external_url": "https://us.example", "oidc_client_secret_file": Path("/nowhere")}, "is no file"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_said_before_the_start(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        require_safe(Settings(**settings))


def test_a_key_of_another_certificate_is_refused(certificate: dict[str, Any], tmp_path: Path) -> None:
    trustme.CA().issue_cert("other.example").private_key_pem.write_to_path(tmp_path / "other.pem")
    with pytest.raises(ConfigurationError, match="cannot be used"):
        require_safe(Settings(**certificate | {"http_tls_key": tmp_path / "other.pem"}))


def test_cookies_are_secure_with_tls_of_ours_or_of_a_proxy(certificate: dict[str, Any]) -> None:
    assert is_secure(Settings(**certificate))
    assert is_secure(Settings(http_external_url="https://us.example"))
    assert not is_secure(Settings(http_external_url="http://us.example"))
    assert not is_secure(Settings())


def test_doctor_says_when_the_web_is_exposed_without_sign_in(certificate: dict[str, Any]) -> None:
    def levels(**settings: Any) -> list[Level]:
        return [finding.level for finding in web_access(Settings(**settings))]

    assert levels() == [Level.OK]
    assert levels(http_host="0.0.0.0") == [Level.FAIL, Level.FAIL]
    assert levels(http_host="0.0.0.0", http_without_signin=True, http_without_tls=True) == [Level.WARN, Level.WARN]
    (found,) = web_access(Settings(http_host="0.0.0.0", http_without_signin=True, **certificate))
    assert (found.level, "exposed without sign-in" in found.found) == (Level.WARN, True)
    assert "REGIONMIR_SIGNIN" in found.advice
    assert levels(http_host="0.0.0.0", signin="local", **certificate) == [Level.OK]
