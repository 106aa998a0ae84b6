"""Pseudonyms: one per real patient, study, series and instance, the same in every answer (HMAC under a site key)."""

import base64
import hmac
from dataclasses import dataclass
from hashlib import sha256

from regionmir.core.identifiers import Uid, parse_uid

ISSUER = "REGIONMIR"
"""IssuerOfPatientID of a pseudonymous patient."""

_SHIFT_DAYS = 365


@dataclass(frozen=True, slots=True, repr=False)
class Pseudonymizer:
    """Derives pseudonyms. `site_key` is a secret of at least 32 bytes; `key_version` names it in the table."""

    site_key: bytes
    key_version: int = 1

    def patient_id(self, patient: str, attempt: int = 0) -> str:
        """Return `RGN-` and ten base32 digits; `attempt` > 0 gives the next one when two patients collide."""
        digest = self._digest(f"patient:{attempt}", patient)
        return "RGN-" + base64.b32encode(digest[:7])[:10].decode("ascii")

    def uid(self, kind: str, original: str) -> Uid:
        """Return `2.25.<128-bit number>` (PS3.5 B.2) for a UID of this kind, or what tells a result from others."""
        return parse_uid(f"2.25.{int.from_bytes(self._digest(kind, original)[:16], 'big')}")

    def date_shift_days(self, patient: str) -> int:
        """Return by how many days this patient's dates are moved, -365 to -1 (PS3.15 E.3.6, modified dates)."""
        return -1 - int.from_bytes(self._digest("shift", patient)[:4], "big") % _SHIFT_DAYS

    def _digest(self, kind: str, original: str) -> bytes:
        return hmac.new(self.site_key, f"{kind}\x1f{original}".encode(), sha256).digest()
