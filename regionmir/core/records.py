"""Values that travel between the packages: what an instance is, who asks, what was found."""

import datetime as dt
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from regionmir.core.anatomy import Anatomy
from regionmir.core.geometry import Box
from regionmir.core.identifiers import AETitle, Uid

Vector = npt.NDArray[np.float32]
"""An embedding: shape (D,), unit length."""


class InstanceState(StrEnum):
    """Progress of an instance: received -> indexing -> indexed | unsupported | failed; failed -> received by hand."""

    RECEIVED = "received"
    INDEXING = "indexing"
    INDEXED = "indexed"
    UNSUPPORTED = "unsupported"
    FAILED = "failed"


class Disclosure(StrEnum):
    """What an answer may reveal: original identities, or pseudonyms only."""

    IDENTIFIED = "identified"
    PSEUDONYMOUS = "pseudonymous"


def lower(one: Disclosure, other: Disclosure) -> Disclosure:
    """Return the disclosure that reveals less."""
    return one if one is Disclosure.PSEUDONYMOUS else other


class Role(StrEnum):
    """What a user of the web process may do: look; also write (feedback, results to a PACS); also administer."""

    VIEWER = "viewer"
    READER = "reader"
    ADMIN = "admin"


class Way(StrEnum):
    """Who vouches for a user: a password of ours, an OpenID provider, a reverse proxy."""

    LOCAL = "local"
    OIDC = "oidc"
    PROXY = "proxy"


@dataclass(frozen=True, slots=True)
class Rights:
    """What a peer may do."""

    echo: bool = True
    store: bool = False
    find: bool = False
    retrieve: bool = False
    correct: bool = False
    identify: bool = False
    get: bool = True
    """False takes C-GET from `retrieve`."""
    move: bool = True
    """False takes C-MOVE from `retrieve`."""
    commit: bool = True
    """False takes storage commitment from `store`."""
    ask: bool = True
    """False: no similar regions, whether or not it may `find`."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: resolved once per association (or HTTP request) by `access`, trusted inside."""

    ae_title: AETitle
    address: str
    rights: Rights
    disclosure: Disclosure
    registered: bool
    accepts_pseudonyms: bool = False
    """May be sent pseudonymous copies: it keeps them apart from real patients' instances."""
    explain_row: bool = True
    last_from: tuple[AETitle, ...] = ()
    user: str = ""
    """The name of the person or the token that asks by `ae_title`; empty where an AE asks."""

    @property
    def actor(self) -> str:
        """Return whom the audit trail names."""
        return self.user or self.ae_title


@dataclass(frozen=True, slots=True)
class CopyIdentity:
    """Who the pseudonymous copy of an instance says that it is of: what pseudonymous answers show too."""

    patient_id: str
    """PatientID and PatientName."""
    study_instance_uid: Uid
    series_instance_uid: Uid
    sop_instance_uid: Uid
    date_shift_days: int
    age: str = ""
    """The first year of its band of five as an AS value (PS3.5 6.2), at most 90; empty where unknown."""


@dataclass(frozen=True, slots=True)
class PatientValues:
    """Who a patient is. `name` with its component groups joined by `=` (PS3.5 6.2.1.1)."""

    patient_id: str
    issuer: str
    name: str
    birth_date: dt.date | None
    sex: str


@dataclass(frozen=True, slots=True)
class InstanceHeader:
    """What is read from a data set to file it. Text is decoded; dates and times are DICOM strings as received."""

    sop_instance_uid: Uid
    sop_class_uid: Uid
    series_instance_uid: Uid
    study_instance_uid: Uid
    transfer_syntax_uid: Uid
    patient_id: str
    issuer_of_patient_id: str
    attributes: dict[str, Any] = field(default_factory=dict)
    """DICOM JSON model (PS3.18 F.2) of the top-level public elements without bulk data; keys like `00100010`."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object that is durably on disk. `key` opens it; `sha256` is of the data set after the meta group."""

    key: str
    sha256: str
    size_bytes: int
    transfer_syntax_uid: Uid


@dataclass(frozen=True, slots=True)
class DetectedRegion:
    """One anatomy found in an image: box in stored pixels, score 0..1."""

    anatomy: Anatomy
    box: Box
    score: float


@dataclass(frozen=True, slots=True)
class EmbeddedRegion:
    """A detected region with its embedding (unit vector)."""

    region: DetectedRegion
    vector: Vector


@dataclass(frozen=True, slots=True)
class GenerationInfo:
    """What identifies a model and its embeddings: the row of table `model`."""

    name: str
    version: str
    weights_sha256: str
    dim: int
    preprocessing_hash: str
    anatomies: tuple[Anatomy, ...]
    """The anatomies that this model finds; the others are switched off."""


@dataclass(frozen=True, slots=True)
class DateRange:
    """Inclusive; None is open."""

    first: dt.date | None = None
    last: dt.date | None = None
