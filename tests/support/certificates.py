"""An authority and certificates for tests, made by the program `openssl`."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from regionmir.core.tls import TlsFiles


def openssl() -> str | None:
    """Return the program, None where it is absent."""
    return shutil.which("openssl")


@dataclass(frozen=True)
class Issued:
    """A certificate and its key, and the file of the authority that others believe."""

    certificate: Path
    key: Path

    def files(self, authority: "Authority") -> TlsFiles:
        return TlsFiles(self.certificate, self.key, authority.certificate)

    @property
    def fingerprint(self) -> str:
        said = _run("x509", "-in", self.certificate, "-noout", "-fingerprint", "-sha256")
        return "sha256:" + said.strip().split("=", 1)[1]


class Authority:
    """Issues certificates into a folder."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._name = folder, name
        self.certificate, self._key = folder / f"{name}.pem", folder / f"{name}.key"
        new_key = ("-newkey", "rsa:2048", "-nodes", "-keyout", self._key)
        _run("req", "-x509", *new_key, "-out", self.certificate, "-subj", f"/O=Hospital/CN={name}", "-days", "2")

    def issue(self, name: str, *, days: int = 2) -> Issued:
        """Return a certificate of `CN=name,O=Hospital` for 127.0.0.1; with negative `days` it has expired."""
        key, request, certificate = (self._folder / f"{self._name}-{name}.{end}" for end in ("key", "csr", "pem"))
        subject = ("-subj", f"/O=Hospital/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1")
        _run("req", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", request, *subject)
        by_us = ("-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial", "-copy_extensions", "copy")
        _run("x509", "-req", "-in", request, *by_us, "-days", days, "-out", certificate)
        key.chmod(0o600)
        return Issued(certificate, key)


def _run(*arguments: object) -> str:
    program = openssl()
    assert program is not None
    command = [program, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
