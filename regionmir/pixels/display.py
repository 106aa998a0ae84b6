"""The grey-scale pipeline of PS3.3 C.11 and PS3.4 N.2 as one table: stored value -> display value.

A stored value has at most 16 bits, so the pipeline runs over all values a pixel can have and never over the image.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from regionmir.pixels.layout import PixelLayout

Floats = npt.NDArray[np.float64]
Lookup = npt.NDArray[np.float32]
Stored = npt.NDArray[Any]

OUTLIERS = 0.001
"""Without window or VOI LUT, deeper than 8 bits: this share of the pixels is clipped at either end."""


@dataclass(frozen=True, slots=True)
class Window:
    """A window in modality values, and its function: LINEAR, LINEAR_EXACT or SIGMOID (PS3.3 C.11.2.1)."""

    centre: float
    width: float
    function: str = "LINEAR"


def display_lookup(dataset: Dataset, layout: PixelLayout, stored: Stored, chosen: Window | None = None) -> Lookup:
    """Return display values (2 ** bits allocated,), 0 black to 1 white, by the stored bit pattern as unsigned index.

    Modality LUT, VOI LUT or window, presentation LUT shape (or MONOCHROME1) and pixel padding are applied. `stored`
    are the pixels: looked at only where the object says nothing of its window, or a window that shows nothing.
    `chosen` takes the place of the object's own VOI LUT or window.
    """
    domain = _domain(layout)
    modality = modality_values(dataset, domain)
    shown = (
        window(modality, chosen.centre, chosen.width, chosen.function) if chosen else _voi(dataset, modality, layout)
    )
    if shown is None or (chosen is None and _flat(shown, stored)):
        shown = _full_range(dataset, layout, domain, modality, stored)
    if _inverted(dataset, layout):
        shown = 1.0 - shown
    shown[_is_padding(dataset, domain)] = 0.0
    return shown.astype(np.float32)


def modality_values(dataset: Dataset, values: Floats) -> Floats:
    """Return stored `values` through the modality LUT or rescale (PS3.3 C.11.1); unchanged where there is neither."""
    for item in dataset.get("ModalityLUTSequence") or []:
        table = _table(item, dataset, signed=_number(dataset, "PixelRepresentation") == 1)
        if table is not None:
            first, entries, _ = table
            return entries[np.clip(values - first, 0, len(entries) - 1).astype(np.intp)]
    slope, intercept = _number(dataset, "RescaleSlope"), _number(dataset, "RescaleIntercept")
    if slope:  # a slope of 0 would make every pixel equal: not a statement to obey
        return values * slope + (intercept or 0.0)
    return values


def window(values: Floats, centre: float, width: float, function: str = "LINEAR") -> Floats | None:
    """Return `values` through a window as 0..1 (PS3.3 C.11.2.1.2), or None where its width has no meaning."""
    if function == "SIGMOID":
        return _sigmoid(values, centre, width) if width > 0 else None
    if function == "LINEAR_EXACT":
        return np.clip((values - centre) / width + 0.5, 0, 1) if width > 0 else None
    if width < 1:
        return None
    if width == 1:
        return (values > centre - 0.5).astype(np.float64)
    return np.clip((values - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)


def _sigmoid(values: Floats, centre: float, width: float) -> Floats:
    exponent = np.clip(-4 * (values - centre) / width, -700, 700)
    return np.asarray(1 / (1 + np.exp(exponent)), np.float64)


def _domain(layout: PixelLayout) -> Floats:
    """Return the stored value of every bit pattern: signed ones wrap around."""
    patterns = np.arange(2**layout.bits_allocated, dtype=np.uint16 if layout.bits_allocated == 16 else np.uint8)
    return patterns.view(f"i{patterns.itemsize}" if layout.signed else patterns.dtype).astype(np.float64)


def _voi(dataset: Dataset, values: Floats, layout: PixelLayout) -> Floats | None:
    """Return the first usable VOI LUT or window, as 0..1, or None. Later ones are alternatives (PS3.3 C.11.2.1)."""
    for item in dataset.get("VOILUTSequence") or []:
        table = _table(item, dataset, signed=layout.signed or _goes_below_zero(dataset))
        if table is not None:
            first, entries, bits = table
            top = max(2.0**bits - 1, float(entries.max()))
            return entries[np.clip(values - first, 0, len(entries) - 1).astype(np.intp)] / top
    centre, width = _number(dataset, "WindowCenter"), _number(dataset, "WindowWidth")
    if centre is None or width is None:
        return None
    function = str(dataset.get("VOILUTFunction") or "LINEAR").strip().upper()
    return window(values, centre, width, function)


def _goes_below_zero(dataset: Dataset) -> bool:
    return (_number(dataset, "RescaleIntercept") or 0.0) < 0


def _flat(lookup: Floats, stored: Stored) -> bool:
    """Say whether a window hides all that the image holds: it then lies beside the values, by mistake."""
    low, high = int(stored.min()), int(stored.max())
    if low == high:
        return False
    used = lookup.take(np.arange(low, high + 1), mode="wrap")  # a negative value is the wrapped bit pattern
    return bool(used.max() - used.min() < 1e-6)


def _full_range(dataset: Dataset, layout: PixelLayout, domain: Floats, values: Floats, stored: Stored) -> Floats:
    """Return `values` stretched to 0..1: over all that 8 bits can hold, or over what a deeper image does hold."""
    if layout.bits_stored <= 8:
        lowest = -(2 ** (layout.bits_stored - 1)) if layout.signed else 0
        used = (domain >= lowest) & (domain < lowest + 2**layout.bits_stored)
        low, high = float(values[used].min()), float(values[used].max())
    else:
        low, high = _bulk_of_values(dataset, domain, values, stored)
    return np.clip((values - low) / (high - low), 0, 1) if high > low else np.zeros_like(values)


def _bulk_of_values(dataset: Dataset, domain: Floats, values: Floats, stored: Stored) -> tuple[float, float]:
    counts = np.bincount(stored.view(f"u{stored.itemsize}").ravel(), minlength=len(domain))
    counts[_is_padding(dataset, domain)] = 0
    if not counts.any():
        return 0.0, 0.0
    order = np.argsort(values, kind="stable")
    share = np.cumsum(counts[order]) / counts.sum()
    low = np.searchsorted(share, OUTLIERS)
    high = np.searchsorted(share, 1 - OUTLIERS)
    return float(values[order[low]]), float(values[order[high]])


def _inverted(dataset: Dataset, layout: PixelLayout) -> bool:
    """PresentationLUTShape tells, else MONOCHROME1: together they mean one inversion, not two (PS3.3 C.8.11.3)."""
    shape = str(dataset.get("PresentationLUTShape") or "").strip().upper()
    if shape in ("IDENTITY", "INVERSE"):
        return shape == "INVERSE"
    return layout.photometric == "MONOCHROME1"


def _is_padding(dataset: Dataset, domain: Floats) -> npt.NDArray[np.bool_]:
    """Return which stored values are pixel padding, i.e. no part of the image (PS3.3 C.7.5.1.1.2)."""
    first = _number(dataset, "PixelPaddingValue")
    if first is None:
        return np.zeros(len(domain), np.bool_)
    last = _number(dataset, "PixelPaddingRangeLimit")
    low, high = sorted((first, first if last is None else last))
    return (domain >= low) & (domain <= high)


def _table(item: Dataset, dataset: Dataset, *, signed: bool) -> tuple[float, Floats, int] | None:
    """Return (first value mapped, entries, bits) of a LUT item (PS3.3 C.11.1.1), or None if it is malformed."""
    descriptor = item.get("LUTDescriptor")
    data = item.get("LUTData")
    if not isinstance(descriptor, MultiValue | list) or len(descriptor) != 3 or data is None:
        return None
    count, first, bits = (int(v) for v in descriptor)
    count = count % 2**16 or 2**16  # US cannot hold 65,536, and SS shows 32,768 and more as negative
    if signed and first >= 2**15:
        first -= 2**16
    entries = _entries(data, count, little_endian=dataset.original_encoding[1] is not False)
    return None if entries is None else (float(first), entries, min(max(bits, 1), 16))


def _entries(data: Any, count: int, *, little_endian: bool) -> Floats | None:
    if isinstance(data, bytes):
        wide = len(data) >= 2 * count
        kind = ("<u2" if little_endian else ">u2") if wide else "u1"
        entries = np.frombuffer(data[: len(data) // 2 * 2 if wide else len(data)], kind).astype(np.float64)
    else:
        entries = np.asarray(data, np.float64).reshape(-1) % 2**16
    return entries[:count] if len(entries) >= count else None


def _number(dataset: Dataset, keyword: str) -> float | None:
    """Return the first value of a number, or None where it is absent, empty or unreadable."""
    try:
        value = dataset.get(keyword)
        first = value[0] if isinstance(value, MultiValue | list) and len(value) else value
        number = float(first)
    except Exception:  # pydicom raises many kinds while it converts one broken value; the value is then not there
        return None
    return number if np.isfinite(number) else None
