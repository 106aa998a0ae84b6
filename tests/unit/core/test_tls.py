"""Which certificate is whose."""

import pytest

from regionmir.core.errors import ConfigurationError, InvalidIdentifier
from regionmir.core.tls import (
    Certificate,
    TlsFiles,
    client_context,
    distinguished_name,
    matches,
    parse_certificate,
    server_context,
)

DIGITS = "ab" * 32
SHOWN = Certificate(f"sha256:{DIGITS}", "CN=PACS,O=Hospital")


def test_a_fingerprint_is_read_as_tools_write_it() -> None:
    assert parse_certificate(f" SHA256:{':'.join(['AB'] * 32)}") == f"sha256:{DIGITS}"
    assert parse_certificate("CN=PACS,O=Hospital") == "CN=PACS,O=Hospital"
    assert parse_certificate("") == ""


@pytest.mark.parametrize("text", ["sha256:1234", "PACS", f"sha256:{DIGITS}00", "sha256:" + "g" * 64])
def test_what_names_no_certificate_is_refused(text: str) -> None:
    with pytest.raises(InvalidIdentifier):
        parse_certificate(text)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [(f"sha256:{DIGITS}", True), ("CN=PACS,O=Hospital", True), ("CN=PACS", False), ("", False), ("sha256:", False)],
)
def test_a_certificate_is_the_one_named_whole(wanted: str, expected: bool) -> None:
    assert matches(SHOWN, wanted) is expected
    assert not matches(None, wanted)


def test_a_subject_is_written_most_specific_first_and_cannot_pass_for_another() -> None:
    subject = ((("organizationName", "Hospital"),), (("commonName", "PACS"),))
    assert distinguished_name(subject) == "CN=PACS,O=Hospital"
    forged = ((("commonName", "PACS,O=Hospital"),),)
    assert distinguished_name(forged) == r"CN=PACS\,O=Hospital"
    assert distinguished_name(forged) != distinguished_name(subject)


def test_missing_files_are_named_with_their_setting(tmp_path) -> None:
    with pytest.raises(ConfigurationError, match="REGIONMIR_TLS_CERTIFICATE"):
        server_context(TlsFiles(), require_certificate=True)
    with pytest.raises(ConfigurationError, match="REGIONMIR_TLS_AUTHORITIES"):
        client_context(TlsFiles())
    absent = tmp_path / "absent.pem"
    with pytest.raises(ConfigurationError, match=r"absent\.pem"):
        client_context(TlsFiles(authorities=absent))


def test_a_key_that_everybody_may_read_is_refused(tmp_path) -> None:
    key = tmp_path / "node.key"
    key.write_text("key")
    key.chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        server_context(TlsFiles(tmp_path / "node.pem", key, None), require_certificate=False)
