"""Images that a model must refuse: a folder of one's own, else the objects of `pydicom-data` that are no chest."""

import io
from pathlib import Path

from pydicom import dcmread

from models.evaluate.rejection import Negatives, folder_negatives
from regionmir.admin.demo.wheels import PYDICOM_DATA, open_wheel
from regionmir.core.errors import RegionMirError
from regionmir.pixels.decode import display_image
from regionmir.pixels.quiet import quiet_pydicom

NO_CHEST = (
    "693_J2KR.dcm",  # CT
    "eCT_Supplemental.dcm",  # CT
    "JPEG-LL.dcm",  # nuclear medicine, whole body
    "MR-SIEMENS-DICOM-WithOverlays.dcm",  # MR of an abdomen
    "MR2_J2KR.dcm",  # MR
    "emri_small.dcm",  # MR of a head
    "RG3_J2KR.dcm",  # CR of an extremity
    "SC_rgb.dcm",  # colour bars
    "US1_J2KR.dcm",  # ultrasound
    "JPGLosslessP14SV1_1s_1f_8b.dcm",  # ultrasound
    "mlut_18.dcm",  # test pattern
    "vlut_04.dcm",  # test pattern
)
"""Members of the wheel below `data_store/data`, one of each kind of picture."""


def negatives(folder: Path | None, *, download: bool) -> tuple[Negatives | None, str]:
    """Return images that must be refused, and why there are none where there are none.

    Without a `folder`, and with `download`, those of the `pydicom-data` wheel, fetched once. Raises `DataError` where
    `folder` holds none.
    """
    if folder is not None:
        return folder_negatives(folder), ""
    if not download:
        return None, "no download was wanted"
    try:
        return _of_the_wheel(), ""
    except RegionMirError as error:
        return None, str(error)


def _of_the_wheel() -> Negatives:
    with open_wheel(PYDICOM_DATA) as wheel, quiet_pydicom():
        images = [display_image(dcmread(io.BytesIO(wheel.read(f"data_store/data/{n}")))).values for n in NO_CHEST]
    return Negatives(images, f"{len(images)} objects of {PYDICOM_DATA.pin} that show no chest")
