"""Invented headers, stored objects and regions, for tests that need rows and no files."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from db import instances
from db.engine import Database
from db.instances import ClaimedInstance, IndexedFilm, Receipt
from regionmir.core.anatomy import Anatomy, anatomies
from regionmir.core.geometry import Box
from regionmir.core.identifiers import Uid
from regionmir.core.pseudonyms import Pseudonymizer
from regionmir.core.records import DetectedRegion, EmbeddedRegion, GenerationInfo, InstanceHeader, StoredObject

PSEUDONYMIZER = Pseudonymizer(b"k" * 32)
EXPLICIT = Uid("1.2.840.10008.1.2.1")
CR = Uid("1.2.840.10008.5.1.4.1.1.1")


def element(vr: str, *values: Any) -> dict[str, Any]:
    """Return an element in the DICOM JSON model."""
    return {"vr": vr, "Value": list(values)}


def header(
    number: int = 1,
    *,
    study: str = "1.2.3",
    series: str | None = None,
    sop: str | None = None,
    patient_id: str = "P1",
    issuer: str = "",
    **attributes: Any,
) -> InstanceHeader:
    """Return the header of instance `number` of a study; further attributes by tag: `t00080050=element(...)`."""
    given = {tag.removeprefix("t"): value for tag, value in attributes.items()}
    return InstanceHeader(
        sop_instance_uid=Uid(sop or f"{study}.1.{number}"),
        sop_class_uid=CR,
        series_instance_uid=Uid(series or f"{study}.1"),
        study_instance_uid=Uid(study),
        transfer_syntax_uid=EXPLICIT,
        patient_id=patient_id,
        issuer_of_patient_id=issuer,
        attributes={
            "00100010": element("PN", {"Alphabetic": "Doe^Jane"}),
            "00100030": element("DA", "19600101"),
            "00100040": element("CS", "F"),
            "00080020": element("DA", "20200101"),
            "00080050": element("SH", f"A{study}"),
            "00080060": element("CS", "CR"),
            "00185101": element("CS", "PA"),
            **given,
        },
    )


def stored(content: str, syntax: Uid = EXPLICIT) -> StoredObject:
    """Return what the storage would say of an object with this content."""
    digest = hashlib.sha256(content.encode()).hexdigest()
    return StoredObject(f"{digest}_{syntax}.dcm", digest, len(content), syntax)


def receive(
    database: Database,
    head: InstanceHeader,
    content: str = "first",
    *,
    may_correct: bool = False,
    same: bool = False,
    source_ae: str = "MODALITY",
    syntax: Uid = EXPLICIT,
    pseudonymizer: Pseudonymizer = PSEUDONYMIZER,
) -> Receipt:
    """File one instance in a transaction of its own; `same` is what comparing pixels and headers would say."""
    with database.session() as session:
        return instances.receive(
            session,
            head,
            stored(content, syntax),
            source_ae=source_ae,
            source_address="127.0.0.1",
            called_ae="REGIONMIR",
            pseudonymizer=pseudonymizer,
            may_correct=may_correct,
            same_content=lambda _old, _new: same,
        )


def generation(name: str = "small", dim: int = 64, found: Sequence[Anatomy] | None = None) -> GenerationInfo:
    """Return a generation that finds `found` (the first five anatomies if not told)."""
    digest = hashlib.sha256(name.encode()).hexdigest()
    return GenerationInfo(name, "1", digest, dim, "prep", tuple(found or anatomies()[:5]))


def unit_vectors(count: int, dim: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """Return random unit vectors, float32 (count, dim)."""
    vectors = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def embedded(found: Sequence[Anatomy], dim: int, seed: int = 0) -> list[EmbeddedRegion]:
    """Return one region with a random vector for each anatomy."""
    vectors = unit_vectors(len(found), dim, seed)
    return [
        EmbeddedRegion(DetectedRegion(anatomy, Box(1, 2, 30 + anatomy.key, 40), 0.9), vector)
        for anatomy, vector in zip(found, vectors, strict=True)
    ]


def index(
    database: Database,
    model_pk: int,
    claimed: ClaimedInstance,
    regions: Sequence[EmbeddedRegion],
    owner: str = "worker",
    pixels: str | None = None,
) -> bool:
    """Finish a claimed instance as indexed, in a transaction of its own."""
    found = IndexedFilm(claimed, regions, pixels or f"pixels of {claimed.storage_key}", "pipeline")
    with database.session() as session:
        return bool(instances.finish_indexed(session, [found], owner=owner, model_pk=model_pk))
