"""What the node accepts in an association: services, transfer syntaxes and which of several offered is taken."""

from typing import Final

from pydicom._uid_dict import UID_dictionary
from pynetdicom import build_context
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    _MEDIA_STORAGE_CLASSES,
    _NON_PATIENT_OBJECT_CLASSES,
    PatientRootQueryRetrieveInformationModelFind,
    PatientRootQueryRetrieveInformationModelGet,
    PatientRootQueryRetrieveInformationModelMove,
    StorageCommitmentPushModel,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

STORAGE_SYNTAXES: Final[tuple[str, ...]] = (
    # Where one context offers several, the first of this list that is offered is taken (PS3.8 9.3.3.2 leaves the
    # choice to the acceptor). Every sender can produce uncompressed explicit VR from what it holds without loss, and
    # private attributes keep their VR.
    "1.2.840.10008.1.2.1",  # Explicit VR Little Endian
    # Lossless: small, and decoded to exactly the sender's pixels. What browsers and archives read best comes first.
    "1.2.840.10008.1.2.4.80",  # JPEG-LS Lossless
    "1.2.840.10008.1.2.4.90",  # JPEG 2000 Lossless
    "1.2.840.10008.1.2.4.201",  # High-Throughput JPEG 2000 Lossless
    "1.2.840.10008.1.2.4.202",  # High-Throughput JPEG 2000 RPCL Lossless
    "1.2.840.10008.1.2.4.70",  # JPEG Lossless SV1
    "1.2.840.10008.1.2.4.57",  # JPEG Lossless
    "1.2.840.10008.1.2.5",  # RLE Lossless
    "1.2.840.10008.1.2.4.92",  # JPEG 2000 Multi-component Lossless
    "1.2.840.10008.1.2.4.110",  # JPEG XL Lossless
    "1.2.840.10008.1.2.8.1",  # Deflated Image Frame Compression
    "1.2.840.10008.1.2.1.98",  # Encapsulated Uncompressed Explicit VR Little Endian
    "1.2.840.10008.1.2.1.99",  # Deflated Explicit VR Little Endian
    # Lossy: a sender offers these alone when that is how its object is; nobody is asked to compress with loss.
    "1.2.840.10008.1.2.4.81",  # JPEG-LS Near-lossless
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
    "1.2.840.10008.1.2.4.203",  # High-Throughput JPEG 2000
    "1.2.840.10008.1.2.4.51",  # JPEG Extended, 12 bit
    "1.2.840.10008.1.2.4.50",  # JPEG Baseline, 8 bit
    "1.2.840.10008.1.2.4.93",  # JPEG 2000 Multi-component
    "1.2.840.10008.1.2.4.111",  # JPEG XL JPEG Recompression
    "1.2.840.10008.1.2.4.112",  # JPEG XL
    "1.2.840.10008.1.2.4.94",  # JPIP Referenced
    "1.2.840.10008.1.2.4.95",  # JPIP Referenced Deflate
    "1.2.840.10008.1.2.4.204",  # JPIP HTJ2K Referenced
    "1.2.840.10008.1.2.4.205",  # JPIP HTJ2K Referenced Deflate
    # Video and audio.
    "1.2.840.10008.1.2.4.100",  # MPEG2 Main Profile / Main Level
    "1.2.840.10008.1.2.4.100.1",
    "1.2.840.10008.1.2.4.101",  # MPEG2 Main Profile / High Level
    "1.2.840.10008.1.2.4.101.1",
    "1.2.840.10008.1.2.4.102",  # MPEG-4 AVC/H.264 High Profile
    "1.2.840.10008.1.2.4.102.1",
    "1.2.840.10008.1.2.4.103",
    "1.2.840.10008.1.2.4.103.1",
    "1.2.840.10008.1.2.4.104",
    "1.2.840.10008.1.2.4.104.1",
    "1.2.840.10008.1.2.4.105",
    "1.2.840.10008.1.2.4.105.1",
    "1.2.840.10008.1.2.4.106",
    "1.2.840.10008.1.2.4.106.1",
    "1.2.840.10008.1.2.4.107",  # HEVC/H.265
    "1.2.840.10008.1.2.4.108",
    "1.2.840.10008.1.2.7.1",  # SMPTE ST 2110
    "1.2.840.10008.1.2.7.2",
    "1.2.840.10008.1.2.7.3",
    # Retired JPEG processes, kept as they are.
    "1.2.840.10008.1.2.4.52",
    "1.2.840.10008.1.2.4.53",
    "1.2.840.10008.1.2.4.54",
    "1.2.840.10008.1.2.4.55",
    "1.2.840.10008.1.2.4.56",
    "1.2.840.10008.1.2.4.58",
    "1.2.840.10008.1.2.4.59",
    "1.2.840.10008.1.2.4.60",
    "1.2.840.10008.1.2.4.61",
    "1.2.840.10008.1.2.4.62",
    "1.2.840.10008.1.2.4.63",
    "1.2.840.10008.1.2.4.64",
    "1.2.840.10008.1.2.4.65",
    "1.2.840.10008.1.2.4.66",
    "1.2.840.10008.1.2.2",  # Explicit VR Big Endian, retired
    "1.2.840.10008.1.2",  # Implicit VR Little Endian: last, as it loses the VR of private attributes
)

SERVICE_SYNTAXES: Final = ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2"]
"""For commands with an Identifier and for C-ECHO."""

SERVICES: Final = (
    Verification,
    PatientRootQueryRetrieveInformationModelFind,
    PatientRootQueryRetrieveInformationModelMove,
    PatientRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
    StudyRootQueryRetrieveInformationModelGet,
)

_RANK: Final = {uid: rank for rank, uid in enumerate(STORAGE_SYNTAXES)}


def service_contexts() -> list[PresentationContext]:
    """Return the contexts other than storage, which takes every SOP class (`_config.UNRESTRICTED_STORAGE_SERVICE`)."""
    contexts = [build_context(uid, SERVICE_SYNTAXES) for uid in SERVICES]
    commitment = build_context(StorageCommitmentPushModel, SERVICE_SYNTAXES)
    commitment.scu_role = commitment.scp_role = True  # a destination of ours reports to us as the SCP that it is
    return [*contexts, commitment]


def preferred_syntax(offered: list[str]) -> str | None:
    """Return which of the offered transfer syntaxes is taken for storage, or None where all are unknown."""
    known = [uid for uid in offered if uid in _RANK]
    return min(known, key=_RANK.__getitem__, default=None)


def named_storage_classes() -> list[str]:
    """Return the UIDs of the storage SOP classes that have a name, for the conformance statement.

    pynetdicom refuses what belongs to no patient (PS3.4 Annex GG), and DICOMDIR.
    """
    refused = {*_NON_PATIENT_OBJECT_CLASSES.values(), *_MEDIA_STORAGE_CLASSES.values()}
    return [uid for uid in UID_dictionary if is_storage(uid) and uid not in refused]


def is_storage(abstract_syntax: str) -> bool:
    """Return whether a context that pynetdicom takes for storage is that: private, newer than pydicom, or named so.

    pynetdicom also takes every service for storage that it has under another name (Modality Worklist, for one).
    """
    name, kind, *_ = UID_dictionary.get(abstract_syntax, ("", "", "", "", ""))
    if not name:
        return True
    return "SOP Class" in kind and "Storage" in name and "Commitment" not in name
