"""What results are built from: the query's image, its regions, the model, and answers as far as they may be shown."""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from pydicom import config
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.valuerep import DSfloat, validate_value

from regionmir.core.anatomy import ALL_REGIONS_AE, Anatomy
from regionmir.core.charset import UndecodableText, known_terms
from regionmir.core.errors import InvalidHeader
from regionmir.core.header import read_header
from regionmir.core.identifiers import Uid
from regionmir.core.pseudonyms import Pseudonymizer
from regionmir.core.records import DetectedRegion, GenerationInfo
from regionmir.pixels.decode import DisplayValues
from regionmir.pixels.quiet import quiet_pydicom

_SUBJECT: Final = (
    # Patient and General Study (PS3.3 C.7.1.1, C.7.2.1): required, empty where the image says nothing
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex",
    "StudyInstanceUID", "StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber",
)  # fmt: skip
_SUBJECT_IF_STATED: Final = (
    "IssuerOfPatientID", "PatientAge", "StudyDescription",
    "PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence",
)  # fmt: skip
_DISPLAY: Final = (
    # Modality LUT, VOI LUT, presentation LUT (PS3.3 C.11.1, C.11.2, C.11.6)
    "ModalityLUTSequence", "RescaleIntercept", "RescaleSlope", "RescaleType",
    "VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction",
    "PresentationLUTShape", "PhotometricInterpretation", "PixelAspectRatio",
)  # fmt: skip
_FORMATTED_VRS: Final = frozenset({"AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI"})


@dataclass(frozen=True, slots=True, repr=False)
class SourceImage:
    """The image that results speak of: what has to be copied into them, and what points to it."""

    sop_class_uid: Uid
    sop_instance_uid: Uid
    series_instance_uid: Uid
    study_instance_uid: Uid
    rows: int
    columns: int
    subject: Dataset
    """Patient and study attributes, text decoded."""
    display: Dataset
    """What turns stored values into display values."""
    charset: tuple[str, ...]
    """SpecificCharacterSet; empty for the default repertoire and where it is unknown."""
    lossy: bool
    """LossyImageCompression is 01."""


@dataclass(frozen=True, slots=True)
class KeptHit:
    """One hit of a kept answer as far as it may leave: nothing here names its patient, study or object."""

    rank: int
    similarity: float
    """Cosine, -1..1."""
    view: str = ""
    """PA, AP or empty."""
    age_band: str = ""
    crop: DisplayValues | None = None
    """The region's own pixels as viewed, none beyond; None where they may not be shown (`crops.shareable_crop`)."""


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """An answer under the result-set code that opens it again. `query_crop`: the query's region as viewed, for
    results that show pixels."""

    code: str
    anatomy: Anatomy
    """What the crops show."""
    query_crop: DisplayValues | None
    hits: tuple[KeptHit, ...]
    coverage: str = ""
    """How much was searched, such as "412 of 430 indexed"."""
    further: int = 0
    """How many anatomies were compared beside it: similarities are means over all."""

    @property
    def name(self) -> str:
        """Return what was compared, in words."""
        return f"{self.anatomy.name} and {self.further} more" if self.further else self.anatomy.name

    @property
    def short(self) -> str:
        """Return what was compared, as descriptions say it: `LLLZ`, `LLLZ+6`."""
        return f"{self.anatomy.short}+{self.further}" if self.further else self.anatomy.short

    @property
    def ae_title(self) -> str:
        """Return the AE title that opens this answer again."""
        return ALL_REGIONS_AE if self.further else self.anatomy.ae_title


@dataclass(frozen=True, slots=True)
class ResultSource:
    """Everything that a builder may use. The same values give the same object, byte for byte.

    `made_at` is when the content came to be (indexed, answered), never the time of a further run: it is written as
    given, without conversion.
    """

    image: SourceImage
    regions: tuple[DetectedRegion, ...]
    model: GenerationInfo
    made_at: dt.datetime
    pseudonymizer: Pseudonymizer = field(repr=False)

    def uid(self, *parts: str) -> Uid:
        """Return the UID of a result about this image by this model; `parts` say which one."""
        return result_uid(self.pseudonymizer, self.model, self.image.sop_instance_uid, *parts)


def result_uid(pseudonymizer: Pseudonymizer, model: GenerationInfo, sop_instance_uid: Uid, *parts: str) -> Uid:
    """Return the UID of a result of a model about the image of this UID; `parts` say which one."""
    named = (*parts, sop_instance_uid, model.name, model.version, model.weights_sha256)
    return pseudonymizer.uid("result", "\x1f".join(named))


def source_image(dataset: Dataset) -> SourceImage:
    """Return what results need of an image; its pixel data may be absent.

    Values that break the form of their VR (a birth date of words) are left out. Raises `InvalidHeader` where a UID,
    Rows or Columns is missing.
    """
    with quiet_pydicom():
        header = read_header(dataset, _transfer_syntax(dataset))
        return SourceImage(
            sop_class_uid=header.sop_class_uid,
            sop_instance_uid=header.sop_instance_uid,
            series_instance_uid=header.series_instance_uid,
            study_instance_uid=header.study_instance_uid,
            rows=_size(dataset, "Rows"),
            columns=_size(dataset, "Columns"),
            subject=_subject(dataset),
            display=_copied(dataset, _DISPLAY),
            charset=_charset(dataset),
            lossy=dataset.get("LossyImageCompression") == "01",
        )


def _subject(dataset: Dataset) -> Dataset:
    found = _copied(dataset, (*_SUBJECT, *_SUBJECT_IF_STATED))
    for keyword in _SUBJECT:
        if keyword not in found:
            setattr(found, keyword, None)
    return found


def _copied(dataset: Dataset, keywords: Iterable[str]) -> Dataset:
    """Return those elements that are there and well formed, by way of JSON: text decoded, nothing shared."""
    copies = Dataset()
    for keyword in keywords:
        try:
            element = dataset[keyword]
            value, key = _json_value(element.to_json_dict(None, 0))
            copy = DataElement.from_json(Dataset, f"{element.tag:08X}", element.VR, value, key)
            _check_form(copy)
        except Exception:  # pydicom raises many kinds while it converts one broken value; the value is then not there
            continue
        copies.add(copy)
    return copies


def _json_value(stated: dict[str, Any]) -> tuple[Any, str]:
    """Return value and its key (PS3.18 F.2.2)."""
    return next(((stated[key], key) for key in ("Value", "InlineBinary") if key in stated), ("", "Value"))


def _check_form(element: DataElement) -> None:
    """Bring decimal strings to 16 characters; raise `ValueError` for dates, codes and the like that are none."""
    if element.VR not in _FORMATTED_VRS or element.is_empty:
        return
    values = list(element.value) if element.VM > 1 else [element.value]
    if element.VR == "DS":
        element.value = [DSfloat(value, auto_format=True) for value in values]
        return
    for value in values:
        validate_value(element.VR, str(value), config.RAISE)


def _size(dataset: Dataset, keyword: str) -> int:
    size = dataset.get(keyword)
    if not isinstance(size, int) or size < 1:
        raise InvalidHeader(f"{keyword} is missing: this is no image")
    return size


def _charset(dataset: Dataset) -> tuple[str, ...]:
    stated = dataset.get("SpecificCharacterSet") or ""
    try:
        return known_terms([stated] if isinstance(stated, str) else [str(term or "") for term in stated])
    except UndecodableText:
        return ()


def _transfer_syntax(dataset: Dataset) -> Uid:
    return Uid(str(getattr(dataset, "file_meta", Dataset()).get("TransferSyntaxUID", "")))
