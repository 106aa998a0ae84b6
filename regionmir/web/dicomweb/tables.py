"""What DICOMweb offers, as data: resources, media types, attributes. The conformance statement prints it."""

from dataclasses import dataclass
from typing import Final

from pydicom.uid import (
    JPEG2000,
    UID,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from db.find import Level

DICOM: Final = "application/dicom"
DICOM_JSON: Final = "application/dicom+json"
JSON: Final = "application/json"
OCTETS: Final = "application/octet-stream"
JPEG: Final = "image/jpeg"
PNG: Final = "image/png"
RELATED: Final = "multipart/related"


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource: `path` below the service root, what it answers (the default first), and its section of PS3.18."""

    service: str
    method: str
    path: str
    answers: tuple[str, ...]
    section: str


_STUDY, _SERIES = "/studies/{study}", "/studies/{study}/series/{series}"
_INSTANCE = _SERIES + "/instances/{instance}"
_OBJECTS = (f'{RELATED}; type="{DICOM}"', DICOM)
_OCTETS = (f'{RELATED}; type="{OCTETS}"', OCTETS)
_MODEL = (DICOM_JSON, JSON)
_IMAGES = (JPEG, PNG)

RESOURCES: Final = (
    Resource("QIDO-RS", "GET", "/studies", _MODEL, "10.6"),
    Resource("QIDO-RS", "GET", "/series", _MODEL, "10.6"),
    Resource("QIDO-RS", "GET", "/instances", _MODEL, "10.6"),
    Resource("QIDO-RS", "GET", f"{_STUDY}/series", _MODEL, "10.6"),
    Resource("QIDO-RS", "GET", f"{_STUDY}/instances", _MODEL, "10.6"),
    Resource("QIDO-RS", "GET", f"{_SERIES}/instances", _MODEL, "10.6"),
    *(
        Resource("WADO-RS", "GET", base + end, answers, "10.4")
        for base in (_STUDY, _SERIES, _INSTANCE)
        for end, answers in (("", _OBJECTS), ("/metadata", _MODEL), ("/rendered", _IMAGES), ("/thumbnail", _IMAGES))
    ),
    Resource("WADO-RS", "GET", f"{_INSTANCE}/frames/{{frames}}", _OCTETS, "10.4"),
    Resource("WADO-RS", "GET", f"{_INSTANCE}/frames/{{frames}}/rendered", _IMAGES, "10.4"),
    Resource("WADO-RS", "GET", f"{_INSTANCE}/frames/{{frames}}/thumbnail", _IMAGES, "10.4"),
    Resource("WADO-RS", "GET", f"{_INSTANCE}/bulkdata/{{attribute}}", _OCTETS, "10.4"),
    Resource("STOW-RS", "POST", "/studies", (DICOM_JSON,), "10.5"),
    Resource("STOW-RS", "POST", _STUDY, (DICOM_JSON,), "10.5"),
)
"""Under `/dicom-web`; QIDO-RS and WADO-RS also under `/dicom-web/sim` and `/dicom-web/sim/{anchor}/{region}`."""

FRAME_SYNTAXES: Final[dict[str, tuple[UID, ...]]] = {
    JPEG: (JPEGLosslessSV1, JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless),
    "image/jls": (JPEGLSLossless, JPEGLSNearLossless),
    "image/jp2": (JPEG2000Lossless, JPEG2000),
    "image/dicom-rle": (RLELossless,),
}
"""Compressed frames that leave as they are stored, by the media type of PS3.18 8.7.3.3.2; the default first."""

NATIVE: Final = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
"""Transfer syntaxes of `application/octet-stream`: both are the same bytes, little endian."""

_PATIENT: Final = ("00100010", "00100020", "00100030", "00100040")
_OF_STUDY: Final = ("00080020", "00080030", "00080050", "00080061", "00080090", "00081030", *_PATIENT, "00200010")
_OF_SERIES: Final = ("00080060", "0008103E", "00200011", "00201209", "00400244", "00400245", "00400275")

DEFAULT_ATTRIBUTES: Final = {
    Level.STUDY: (*_OF_STUDY, "00201206", "00201208"),
    Level.SERIES: _OF_SERIES,
    Level.IMAGE: ("00080016", "00200013", "00280008", "00280010", "00280011", "00280100"),
}
"""Answered unasked beside the UIDs (PS3.18 Tables 10.6.3-3 to -5); StudyDescription as viewers want it."""

DEFAULT_RELATIONAL: Final = {
    Level.SERIES: (*_OF_STUDY, *_OF_SERIES),
    Level.IMAGE: (*_OF_STUDY, *_OF_SERIES, *DEFAULT_ATTRIBUTES[Level.IMAGE]),
}
"""The same, where the URL names no study (series) or no series."""

IMAGE_TAGS: Final = (
    "00080008", "00080012", "00080013", "00080016", "00080022", "00080023", "00080032", "00080033",
    "00082218", "00181164", "00185101", "00200012", "00200013", "00200020", "00200052", "00200062",
    "00204000", "00280002", "00280004", "00280006", "00280008", "00280010", "00280011", "00280030",
    "00280034", "00280100", "00280101", "00280102", "00280103", "00280106", "00280107", "00280301",
    "00281050", "00281051", "00281052", "00281053", "00281054", "00281055", "00281056", "00282110",
    "00282112", "20500020",
)  # fmt: skip
"""Attributes of an image that `includefield=all` answers at level instance, for identified callers."""
