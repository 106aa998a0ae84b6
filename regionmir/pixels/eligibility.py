"""What the index takes, by attributes alone: frontal chest radiographs. What is not stated is left to the model."""

import re
from typing import Any

from pydicom.dataset import Dataset

from regionmir.core.errors import UnsupportedImage
from regionmir.pixels.orientation import turn_of
from regionmir.pixels.quiet import quiet_pydicom
from regionmir.pixels.render import OTHER_PATIENTS

CR_STORAGE = "1.2.840.10008.5.1.4.1.1.1"
DX_FOR_PRESENTATION = "1.2.840.10008.5.1.4.1.1.1.1"
DX_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"
SECONDARY_CAPTURES = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.7",
        "1.2.840.10008.5.1.4.1.1.7.2",  # multi-frame grayscale byte
        "1.2.840.10008.5.1.4.1.1.7.3",  # multi-frame grayscale word
        "1.2.840.10008.5.1.4.1.1.7.4",  # multi-frame true color
    }
)

_SOP_CLASSES = SECONDARY_CAPTURES | {CR_STORAGE, DX_FOR_PRESENTATION, DX_FOR_PROCESSING}
_MODALITIES = frozenset({"CR", "DX", "RG", ""})
_CAPTURED_MODALITIES = _MODALITIES | {"OT", "SC"}

# CID 4031 and its predecessors; SRT is SNOMED's older spelling of the same concepts.
_CHEST_CODES = frozenset(
    {
        ("SCT", "816094009"), ("SCT", "51185008"), ("SCT", "302551006"), ("SCT", "43799004"), ("SCT", "39607008"),
        ("SCT", "416550000"), ("SCT", "72410000"),
        ("SRT", "T-D3000"), ("SRT", "T-D3200"), ("SRT", "T-28000"), ("SRT", "R-FAB55"), ("SRT", "T-D3300"),
    }
)  # fmt: skip
_CHEST_WORDS = re.compile(r"CHEST|THORAX|TORAX|TÓRAX|TORACE|LUNG|PULMO|POUMON|PECHO|PEITO|MEDIASTIN")
_SPINE_WORDS = re.compile(r"SPINE|RIB|STERN|CLAVIC|SCAPUL|SHOULDER|BREAST|BIOPSY")

# CID 4010, frontal; every other concept of it names another projection.
_FRONTAL_CODES = {
    ("SCT", "272479007"): "PA", ("SRT", "R-40888"): "PA", ("SRT", "R-10214"): "PA",
    ("SCT", "399348003"): "AP", ("SRT", "R-10206"): "AP",
    ("SCT", "399033003"): "", ("SRT", "R-10202"): "",
}  # fmt: skip

_VIEW_WORDS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\b(OBLIQUE|OBL|LAO|RAO|LPO|RPO|LLO|RLO)\b"), "oblique view"),
    (re.compile(r"\b(DECUB|DECUBITUS|LLD|RLD)\b"), "decubitus view"),
    (re.compile(r"\b(LATERAL|LAT|LL|RL|LLAT|RLAT|ML|LM|SAGITTAL)\b"), "lateral view"),
    (re.compile(r"\b(AXIAL|TANGENTIAL|CC|MLO|TRANSVERSE)\b"), "view not frontal"),
)


def check_frontal_chest(dataset: Dataset) -> str:
    """Return the view, "PA", "AP" or "" where it is not stated, of what by its attributes may be a frontal chest film.

    Needs no pixel data. Raises `UnsupportedImage` with a short stable reason for everything else.
    """
    with quiet_pydicom():
        try:
            return _checked_view(dataset)
        except (MemoryError, UnsupportedImage):
            raise
        except Exception as error:  # pydicom raises many kinds for values that are not what their VR says
            raise UnsupportedImage("attributes unreadable", type(error).__name__) from None


def _checked_view(dataset: Dataset) -> str:
    _check_object(dataset)
    _check_modality(dataset)
    _check_subject(dataset)
    _check_kind(dataset)
    _check_body_part(dataset)
    view = _view(dataset)
    _check_one_side(dataset)
    turn_of(dataset)
    return view


def _check_object(dataset: Dataset) -> None:
    sop_class = str(dataset.get("SOPClassUID") or "")
    if sop_class in _SOP_CLASSES:
        return
    if "Rows" not in dataset:
        raise UnsupportedImage("no image")
    modality = _text(dataset, "Modality")
    if modality not in _CAPTURED_MODALITIES:
        raise UnsupportedImage(f"modality {_short(modality)}")
    raise UnsupportedImage("SOP class not indexed", sop_class[:64])


def _check_modality(dataset: Dataset) -> None:
    modality = _text(dataset, "Modality")
    captured = str(dataset.get("SOPClassUID")) in SECONDARY_CAPTURES
    if modality not in (_CAPTURED_MODALITIES if captured else _MODALITIES):
        raise UnsupportedImage(f"modality {_short(modality)}")


def _check_subject(dataset: Dataset) -> None:
    if _text(dataset, "AnatomicalOrientationType") == "QUADRUPED":
        raise UnsupportedImage("not a human")
    species = _text(dataset, "PatientSpeciesDescription")
    if species and not re.search(r"HOMO SAPIENS|HUMAN", species):
        raise UnsupportedImage("not a human")


def _check_kind(dataset: Dataset) -> None:
    sop_class = str(dataset.get("SOPClassUID"))
    if sop_class == DX_FOR_PROCESSING or _text(dataset, "PresentationIntentType") == "FOR PROCESSING":
        raise UnsupportedImage("for processing")
    if "LOCALIZER" in _texts(dataset, "ImageType"):
        raise UnsupportedImage("localizer")
    if _text(dataset, "QualityControlImage") == "YES":
        raise UnsupportedImage("quality control image")
    if _text(dataset, "PhotometricInterpretation") == "PALETTE COLOR":
        raise UnsupportedImage("photometric PALETTE COLOR")
    if _text(dataset, "SeriesDescription").startswith(OTHER_PATIENTS):
        raise UnsupportedImage("own_copy")
    if sop_class in SECONDARY_CAPTURES and _frames(dataset) > 1:
        raise UnsupportedImage("multi-frame capture")


def _check_body_part(dataset: Dataset) -> None:
    body_part = _text(dataset, "BodyPartExamined")
    if body_part and not _names_chest(body_part):
        raise UnsupportedImage(f"body part {_short(body_part)}")
    for item in dataset.get("AnatomicRegionSequence") or []:
        meaning = _text(item, "CodeMeaning")
        if _code(item) not in _CHEST_CODES and not _names_chest(meaning):
            raise UnsupportedImage(f"body part {_short(meaning or _text(item, 'CodeValue'))}")


def _names_chest(text: str) -> bool:
    return bool(_CHEST_WORDS.search(text)) and not _SPINE_WORDS.search(text)


def _view(dataset: Dataset) -> str:
    stated = {_view_of_words(_text(dataset, "ViewPosition"))}
    for item in dataset.get("ViewCodeSequence") or []:
        code = _code(item)
        stated.add(_FRONTAL_CODES[code] if code in _FRONTAL_CODES else _view_of_words(_text(item, "CodeMeaning")))
    stated.discard("")
    if len(stated) > 1:
        raise UnsupportedImage("views contradict")
    return stated.pop() if stated else ""


def _view_of_words(text: str) -> str:
    """Return "PA" or "AP" where the words name it, "" where they name no projection we know."""
    words = text.replace("_", " ").replace("POSTERO-ANTERIOR", "PA").replace("ANTERO-POSTERIOR", "AP")
    for pattern, reason in _VIEW_WORDS:
        if pattern.search(words):
            raise UnsupportedImage(reason)
    named = re.findall(r"\b(PA|AP)\b", words)
    return named[0] if len(set(named)) == 1 else ""


def _check_one_side(dataset: Dataset) -> None:
    """The chest is unpaired (U) or shown with both sides (B); one side alone is another picture (PS3.3 C.8.11.2)."""
    side = _text(dataset, "ImageLaterality") or _text(dataset, "Laterality")
    if side in ("L", "R"):
        raise UnsupportedImage("one side only")


def _frames(dataset: Dataset) -> int:
    try:
        return int(dataset.get("NumberOfFrames") or 1)
    except (TypeError, ValueError):
        return 1


def _code(item: Dataset) -> tuple[str, str]:
    scheme = _text(item, "CodingSchemeDesignator")
    return ("SRT" if scheme in ("SNM3", "99SDM") else scheme, _text(item, "CodeValue"))


def _short(text: str) -> str:
    """Return at most 16 harmless characters of a value from outside, fit for a reason."""
    return re.sub(r"[^A-Z0-9_ -]", "", text)[:16].strip() or "unknown"


def _text(dataset: Dataset, keyword: str) -> str:
    values = _texts(dataset, keyword)
    return values[0] if values else ""


def _texts(dataset: Dataset, keyword: str) -> list[str]:
    try:
        value: Any = dataset.get(keyword)
    except Exception:  # pydicom raises many kinds while it converts one broken value
        return []
    values = [value] if isinstance(value, str) or not hasattr(value, "__iter__") else list(value)
    return [str(v).strip().upper() for v in values if v is not None]
