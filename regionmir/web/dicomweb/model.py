"""The DICOM JSON model (PS3.18 F) of an instance: bulk data stay behind under addresses of their own."""

import math
import re
from typing import Any, Final

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from regionmir.core.charset import UTF8

INLINE_BYTES: Final = 1024
"""Longer binary values are bulk data."""

_BULK_VRS: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_FLOATS: Final = frozenset({"FD", "FL"})
_CHARSET: Final = 0x00080005
_PIXEL_GROUP: Final = 0x7FE0
PIXEL_DATA: Final = "7FE00010"

_SPACINGS: Final = (0x00280030, 0x00181164, 0x00182010)
"""PixelSpacing, ImagerPixelSpacing, NominalScannedPixelSpacing: positive (PS3.3 10.7.1.3), or viewers show nothing."""

_PATH = re.compile(r"[0-9A-F]{8}(?:/(?:0|[1-9][0-9]{0,5})/[0-9A-F]{8}){0,16}")
"""A tag, or items and tags below it: `00081140/0/00280010`."""

Model = dict[str, Any]


def model_of(dataset: Dataset, bulk_url: str) -> Model:
    """Return the JSON model of a data set; values that cannot be read, and spacings that are none, are empty.

    `bulk_url` is before each path.
    """
    model = _elements(dataset, bulk_url, "")
    for spacing in (f"{tag:08X}" for tag in _SPACINGS):
        if not all(_is_positive(value) for value in model.get(spacing, {}).get("Value", ())):
            model[spacing] = {"vr": model[spacing]["vr"]}
    model[f"{_CHARSET:08X}"] = {"vr": "CS", "Value": [UTF8]}  # JSON is UTF-8, whatever the instance is (F.2.1)
    return dict(sorted(model.items()))


def with_pixels(model: Model, bulk_url: str, *, encapsulated: bool) -> Model:
    """Return the model of an image whose Pixel Data were not read: they are bulk data."""
    bits = (model.get("00280100", {}).get("Value") or [16])[0]
    vr = "OB" if encapsulated or bits <= 8 else "OW"
    return {**model, PIXEL_DATA: {"vr": vr, "BulkDataURI": f"{bulk_url}/{PIXEL_DATA}"}}


def is_bulk_path(path: str) -> bool:
    """Return whether `path` has the form of an address of bulk data below an instance."""
    return _PATH.fullmatch(path) is not None


def bulk_element(dataset: Dataset, path: str) -> DataElement | None:
    """Return the element with a binary value at `path`, None where there is none."""
    tag, _, rest = path.partition("/")
    found = dataset.get(int(tag, 16))
    if found is None or not rest:
        return found if found is not None and found.VR in _BULK_VRS else None
    number, _, below = rest.partition("/")
    if found.VR != "SQ" or int(number) >= len(found.value):
        return None
    return bulk_element(found.value[int(number)], below)


def element_model(element: DataElement) -> Model:
    """Return the model of one element without bulk data; empty where its value cannot be read.

    What is no finite number, JSON cannot hold: of a VR of floats it is a text, of a DS an empty value.
    """
    try:
        model: Model = element.to_json_dict(None, 0)
    except Exception:  # pydicom raises many kinds for a value that is not as its VR says
        return {"vr": element.VR}
    values = model.get("Value", ())
    if all(map(_is_json, values)):
        return model
    told = [one if _is_json(one) else str(one) if element.VR in _FLOATS else None for one in values]
    return {"vr": element.VR} if all(one is None for one in told) else {**model, "Value": told}


def _is_json(value: object) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and value > 0


def _elements(dataset: Dataset, bulk_url: str, path: str) -> Model:
    found = {}
    for tag in sorted(dataset.keys()):
        if tag.element == 0 or tag.group in (0x0002, _PIXEL_GROUP):
            continue
        made = _element(dataset, tag, bulk_url, f"{path}{tag:08X}")
        if made is not None:
            found[f"{tag:08X}"] = made
    return found


def _element(dataset: Dataset, tag: BaseTag, bulk_url: str, path: str) -> Model | None:
    try:
        element = dataset[tag]
    except Exception:  # as above, while the raw value is converted
        return None
    if element.VR == "SQ":
        items = [_elements(item, bulk_url, f"{path}/{n}/") for n, item in enumerate(element.value)]
        return {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}
    if element.VR in _BULK_VRS and isinstance(element.value, bytes) and len(element.value) > INLINE_BYTES:
        return {"vr": element.VR, "BulkDataURI": f"{bulk_url}/{path}"}
    return element_model(element)
