"""De-identified copies: what stays, what goes, and that no canary leaves, wherever it was put."""

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from regionmir.core.errors import BrokenImage
from regionmir.core.identifiers import Uid
from regionmir.core.implementation import IMPLEMENTATION_CLASS_UID
from regionmir.core.pseudonyms import Pseudonymizer
from regionmir.core.records import CopyIdentity
from regionmir.deid.copies import NoCopy, encoded, in_accepted_syntax, may_be_copied, pseudonymous_copy
from regionmir.deid.identity import Substitution
from regionmir.deid.profile import Action, action_of, all_tags
from tests.support.canaries import Canaries
from tests.support.films import SECONDARY_CAPTURE, save, synthetic_film

PSEUDONYMIZER = Pseudonymizer(b"k" * 32)
IDENTITY = CopyIdentity("RGN-ABCDEFGH23", Uid("2.25.1"), Uid("2.25.2"), Uid("2.25.3"), date_shift_days=-100, age="060Y")
SUBSTITUTION = Substitution(IDENTITY, PSEUDONYMIZER.uid)
NEEDED = frozenset({"SOPClassUID", "SpecificCharacterSet", "Rows", "Columns", "BitsAllocated"})


def copy_of(film: Dataset, folder: Path) -> FileDataset:
    return pseudonymous_copy(save(film, folder / "film.dcm"), SUBSTITUTION, "OURS")


def reread(copy: FileDataset) -> FileDataset:
    return dcmread(encoded(copy))


def test_no_canary_in_any_attribute_of_the_table_leaves(tmp_path: Path) -> None:
    film, canaries = synthetic_film(1, rows=16, columns=16), Canaries()
    for tag in sorted(all_tags()):
        if tag >> 16 not in (0x0000, 0x0002, 0x0004, 0xFFFC) and keyword_for_tag(tag) not in NEEDED:
            canaries.put(film, tag)
    assert len(canaries.texts) > 650
    film.file_meta.SourceApplicationEntityTitle = canaries.text("source AE")
    film.file_meta.ImplementationVersionName = canaries.text("version name")
    film.preamble = (canaries.text("preamble") * 20).encode()[:128]
    canaries.private(film, "private")

    copy = copy_of(film, tmp_path)

    assert canaries.leaks(copy, encoded(copy).getvalue()) == []


def test_no_canary_in_attributes_that_the_table_does_not_name_leaves_as_text(tmp_path: Path) -> None:
    film, canaries = synthetic_film(1, rows=16, columns=16), Canaries()
    for keyword in (
        "DetectorDescription", "WindowCenterWidthExplanation", "SecondaryCaptureDeviceManufacturer", "RetrieveAETitle",
        "ICCProfile", "BodyPartExamined", "ViewPosition", "PatientSex", "Modality", "EthnicGroup",
        "TelephoneNumberTrial",
    ):  # fmt: skip
        canaries.put(film, keyword)
    canaries.put(film, 0x00101011, "an attribute that no dictionary knows")
    film.SeriesNumber = film.InstanceNumber = "20191231"
    canaries.texts["numbers"] = "20191231"
    film.AnatomicRegionSequence = [canaries.item("region", 0)]
    film.VOILUTSequence = [canaries.item("lut", 0)]

    copy = copy_of(film, tmp_path)

    assert canaries.leaks(copy, encoded(copy).getvalue()) == []


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
        (["ISO_IR 192"], "Wang^XiaoDong=王^小东=小^东"),
        (["ISO_IR 144"], "Люкceмбypг"),
    ],
)
def test_no_component_group_of_a_name_leaves_in_any_character_set(
    tmp_path: Path, charset: list[str], name: str
) -> None:
    film, canaries = synthetic_film(1, rows=16, columns=16, SpecificCharacterSet=charset), Canaries()
    film.PatientName = film.OperatorsName = film.ReferringPhysicianName = name
    item = Dataset()
    item.PersonName = name
    film.RequestAttributesSequence = film.PersonIdentificationCodeSequence = film.VOILUTSequence = [item]
    canaries.texts |= {f"group {n}": part for group in name.split("=") for n, part in enumerate(group.split("^"))}

    copy = copy_of(film, tmp_path)

    assert canaries.leaks(copy, encoded(copy).getvalue()) == []


@pytest.mark.parametrize("where", ["value", "nested", "bytes", "charset"])
def test_the_search_for_canaries_finds_a_planted_leak(tmp_path: Path, where: str) -> None:
    canaries = Canaries()
    text = canaries.text("planted")
    copy = copy_of(synthetic_film(1, rows=16, columns=16), tmp_path)
    if where == "value":
        copy.ImageComments = f"seen by {text.lower()}"
    elif where == "nested":
        copy.DeidentificationMethodCodeSequence[0].CodeMeaning = text
    elif where == "bytes":
        copy.PixelData = text.encode() + copy.PixelData[len(text) :]
    else:
        canaries.texts = {"planted": "山田"}
        copy.PixelData = "山田".encode("iso2022_jp") + copy.PixelData[20:]

    assert canaries.leaks(copy, encoded(copy).getvalue()) == ["planted"]


def test_every_attribute_of_the_table_has_an_action() -> None:
    assert len(all_tags()) == 652  # of 655 rows: curves, overlay data and overlay comments are repeating groups
    assert {action_of(tag) for tag in all_tags()} == set(Action)
    assert all(action_of(group << 16 | 0x3000) is Action.REMOVE for group in (0x5000, 0x50FE, 0x6000, 0x60FE))


def test_a_copy_has_the_pseudonyms_and_says_what_it_is(tmp_path: Path) -> None:
    copy = reread(copy_of(synthetic_film(1, FrameOfReferenceUID="1.2.3.4"), tmp_path))

    assert copy.PatientName == copy.PatientID == "RGN-ABCDEFGH23"
    assert copy.IssuerOfPatientID == "REGIONMIR"
    assert (copy.StudyInstanceUID, copy.SeriesInstanceUID, copy.SOPInstanceUID) == ("2.25.1", "2.25.2", "2.25.3")
    assert copy.FrameOfReferenceUID == PSEUDONYMIZER.uid("other", Uid("1.2.3.4"))
    assert copy.PatientIdentityRemoved == "YES"
    assert [code.CodeValue for code in copy.DeidentificationMethodCodeSequence] == ["113100", "113107", "113108"]
    assert copy.LongitudinalTemporalInformationModified == "MODIFIED"
    assert copy.file_meta.MediaStorageSOPInstanceUID == "2.25.3"
    assert copy.file_meta.SourceApplicationEntityTitle == "OURS"
    assert copy.file_meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert copy.preamble == bytes(128)


def test_dates_move_by_the_patients_days_and_times_go(tmp_path: Path) -> None:
    film = synthetic_film(1, StudyDate="20200410", AcquisitionDateTime="20200412101112.5")
    film["SeriesDate"]._value = "2020.04.11"  # as before 1993

    copy = reread(copy_of(film, tmp_path))

    assert (copy.StudyDate, copy.SeriesDate, copy.AcquisitionDateTime) == ("20200101", "20200102", "20200103")
    assert copy.StudyTime == copy.ContentTime == copy.PatientBirthDate == ""
    assert "SeriesTime" not in copy


@pytest.mark.parametrize("value", ["", "2020", "20201345", "unknown", "00010101"])
def test_what_names_no_day_or_cannot_be_moved_becomes_empty(tmp_path: Path, value: str) -> None:
    film = synthetic_film(1)
    film["StudyDate"]._value = value

    assert reread(copy_of(film, tmp_path)).StudyDate == ""


def test_patient_characteristics_stay_and_the_age_is_that_of_its_band(tmp_path: Path) -> None:
    film = synthetic_film(1, PatientAge="062Y", PatientSize="1.78", PatientWeight="80", SmokingStatus="NO")

    copy = reread(copy_of(film, tmp_path))

    assert (copy.PatientAge, copy.PatientSex, copy.PatientSize, copy.PatientWeight) == ("060Y", "M", 1.78, 80)
    assert copy.SmokingStatus == "NO"


def test_an_age_that_answers_do_not_show_is_absent(tmp_path: Path) -> None:
    path = save(synthetic_film(1, PatientAge="062Y"), tmp_path / "film.dcm")
    unknown = CopyIdentity("RGN-A", Uid("2.25.1"), Uid("2.25.2"), Uid("2.25.3"), -1)

    assert "PatientAge" not in pseudonymous_copy(path, Substitution(unknown, PSEUDONYMIZER.uid), "OURS")


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
@pytest.mark.parametrize("stated", ["NaN", "inf", "1e999", "-1E999"])
def test_a_decimal_that_is_no_finite_number_is_empty(tmp_path: Path, stated: str) -> None:
    copy = copy_of(synthetic_film(1, rows=16, columns=16, WindowCenter=stated), tmp_path)
    assert copy.WindowCenter == ""


def test_a_code_gets_the_meaning_of_its_scheme_and_a_private_one_goes(tmp_path: Path) -> None:
    def code(value: str, scheme: str, meaning: str) -> Dataset:
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
        return item

    film = synthetic_film(1)
    film.ViewCodeSequence = [code("399348003", "SCT", "antero-posterior of Mr. Secret")]
    film.AnatomicRegionSequence = [code("SECRET", "99SECRET", "Secret")]

    copy = reread(copy_of(film, tmp_path))

    assert copy.ViewCodeSequence[0].CodeValue == "399348003"
    assert copy.ViewCodeSequence[0].CodeMeaning.startswith("Antero-posterior")
    assert "ecret" not in str(copy)
    assert "AnatomicRegionSequence" not in copy


def test_references_get_the_pseudonyms_of_what_they_name(tmp_path: Path) -> None:
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = SECONDARY_CAPTURE, "1.2.3.99"
    film = synthetic_film(1, SourceImageSequence=[reference], IrradiationEventUID=["1.2.3.5", "1.2.3.6"])

    copy = reread(copy_of(film, tmp_path))

    assert copy.SourceImageSequence[0].ReferencedSOPClassUID == SECONDARY_CAPTURE
    assert copy.SourceImageSequence[0].ReferencedSOPInstanceUID == PSEUDONYMIZER.uid("instance", Uid("1.2.3.99"))
    assert list(copy.IrradiationEventUID) == [PSEUDONYMIZER.uid("other", Uid(uid)) for uid in ("1.2.3.5", "1.2.3.6")]


def test_overlays_curves_icons_and_private_attributes_are_gone(tmp_path: Path) -> None:
    film = synthetic_film(1)
    film.add_new(0x60000010, "US", 8)
    film.add_new(0x60003000, "OW", b"OVERLAY!")
    film.add_new(0x50003000, "OW", b"CURVES!!")
    film.add_new(0x60020022, "LO", "Overlay of Secret")
    icon = Dataset()
    icon.Rows = icon.Columns = 1
    icon.add_new(0x7FE00010, "OB", b"ICONICON")
    film.IconImageSequence = [icon]
    Canaries().private(film, "private")

    content = encoded(copy_of(film, tmp_path)).getvalue()

    assert not any(text in content for text in (b"OVERLAY!", b"CURVES!!", b"Secret", b"ICONICON", b"CANARY"))


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_native_pixels_stay_equal_and_bytes_behind_them_go(tmp_path: Path, syntax: str) -> None:
    film = synthetic_film(1, rows=15, columns=17, transfer_syntax_uid=syntax)
    samples = synthetic_film(1, rows=15, columns=17).pixel_array
    film.PixelData += b"SECRET TAIL!"

    copy = copy_of(film, tmp_path)

    assert (reread(copy).pixel_array == samples).all()
    assert b"SECRET" not in encoded(copy).getvalue()


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, JPEG2000Lossless])
@pytest.mark.parametrize("signed", [False, True])
def test_bits_that_hold_no_sample_are_cleared(tmp_path: Path, syntax: str, signed: bool) -> None:
    samples = np.arange(4096, dtype="<u2").reshape(64, 64) >> 1
    hidden = samples | np.uint16(0x4000)  # an overlay in a bit above HighBit, as before 2004
    film = synthetic_film(1, rows=64, columns=64)
    film.PixelRepresentation = int(signed)
    film.BitsStored, film.HighBit = 16, 15
    film.PixelData = hidden.tobytes()
    if syntax != ExplicitVRLittleEndian:
        film.compress(syntax, generate_instance_uid=False)
    film.BitsStored, film.HighBit = 12, 11

    copy = reread(copy_of(film, tmp_path))
    if copy.file_meta.TransferSyntaxUID.is_encapsulated:
        copy.decompress()

    assert np.frombuffer(copy.PixelData, "<u2").tolist() == samples.ravel().tolist()


def test_a_codestream_with_room_for_more_bits_stays_where_nothing_stands_in_them(tmp_path: Path) -> None:
    film = synthetic_film(1, rows=64, columns=64)
    film.BitsStored, film.HighBit = 16, 15
    film.compress(JPEG2000Lossless, generate_instance_uid=False)
    film.BitsStored, film.HighBit = 12, 11

    assert copy_of(film, tmp_path).file_meta.TransferSyntaxUID == JPEG2000Lossless


def jpeg_film(frame: bytes, **attributes: Any) -> Dataset:
    film = synthetic_film(1, bits=8, rows=32, columns=32, **attributes)
    film.PixelData = encapsulate([frame])
    film["PixelData"].VR = "OB"
    film.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    return film


def test_comments_and_application_data_of_a_jpeg_go_and_its_scan_stays(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    noise = np.random.default_rng(1).integers(0, 256, (32, 32), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, "JPEG", comment=b"SECRET COMMENT")
    plain = buffer.getvalue()
    exif = b"\xff\xe1" + struct.pack(">H", 2 + 12) + b"SECRET EXIF!"
    frame = plain[:2] + exif + plain[2:] + b"SECRET TAIL!"
    film = jpeg_film(frame)
    path = save(film, tmp_path / "film.dcm")

    copy = reread(pseudonymous_copy(path, SUBSTITUTION, "OURS"))

    assert b"SECRET" not in encoded(copy).getvalue()
    assert copy.file_meta.TransferSyntaxUID == JPEGBaseline8Bit
    scan = plain[plain.index(b"\xff\xda") :]
    assert scan in next(generate_frames(copy.PixelData, number_of_frames=1))
    assert (copy.pixel_array == dcmread(path).pixel_array).all()


def test_comments_of_a_jpeg_2000_codestream_and_its_tiles_go(tmp_path: Path) -> None:
    film = synthetic_film(1, rows=64, columns=64, transfer_syntax_uid=JPEG2000Lossless)
    frame = next(generate_frames(film.PixelData, number_of_frames=1))
    comment = b"\xff\x64" + struct.pack(">HH", 4 + 12, 1) + b"SECRET COM!!"
    tile = frame.index(b"\xff\x90")
    (length,) = struct.unpack_from(">I", frame, tile + 6)
    longer = frame[tile : tile + 6] + struct.pack(">I", length + len(comment)) + frame[tile + 10 : tile + 12]
    with_comments = frame[:tile] + comment + longer + comment + frame[tile + 12 :] + b"SECRET TAIL!"
    film.PixelData = encapsulate([with_comments])
    film["PixelData"].VR = "OB"
    path = save(film, tmp_path / "film.dcm")

    copy = reread(pseudonymous_copy(path, SUBSTITUTION, "OURS"))

    assert b"SECRET" not in encoded(copy).getvalue()
    assert copy.file_meta.TransferSyntaxUID == JPEG2000Lossless
    assert (copy.pixel_array == dcmread(path).pixel_array).all()


def test_a_damaged_codestream_makes_no_copy(tmp_path: Path) -> None:
    with pytest.raises(BrokenImage):
        copy_of(jpeg_film(b"\xff\xd8\xff\xe1\xff\xffSECRET"), tmp_path)


@pytest.mark.parametrize(
    ("kind", "burned_in", "leaves"),
    [
        ("DX", "NO", True),
        ("CR", None, True),
        ("DX", "YES", False),
        ("SC", "NO", True),
        ("SC", None, False),
        ("SC", "YES", False),
        ("SC", ["NO", "YES"], False),
    ],
)
def test_films_leave_and_captures_only_where_they_say_that_no_text_is_burned_in(
    tmp_path: Path, kind: str, burned_in: Any, leaves: bool
) -> None:
    film = synthetic_film(1, kind=kind, BurnedInAnnotation=burned_in)

    if leaves:
        assert copy_of(film, tmp_path).SOPClassUID == film.SOPClassUID
        return
    with pytest.raises(NoCopy):
        copy_of(film, tmp_path)


def test_no_other_sop_class_leaves() -> None:
    assert not may_be_copied("1.2.840.10008.5.1.4.1.1.4", "NO")
    assert not may_be_copied("1.2.840.10008.5.1.4.1.1.88.33", "")


@pytest.mark.parametrize(
    ("stored", "accepted", "sent"),
    [
        (RLELossless, [RLELossless, ExplicitVRLittleEndian], RLELossless),
        (RLELossless, [ImplicitVRLittleEndian], ImplicitVRLittleEndian),
        (ImplicitVRLittleEndian, [ImplicitVRLittleEndian, ExplicitVRLittleEndian], ImplicitVRLittleEndian),
        (ImplicitVRLittleEndian, [ExplicitVRLittleEndian], ExplicitVRLittleEndian),
        (ExplicitVRLittleEndian, [ExplicitVRLittleEndian], ExplicitVRLittleEndian),
    ],
)
def test_the_transfer_syntax_stays_where_it_is_accepted(
    tmp_path: Path, stored: Any, accepted: list[str], sent: str
) -> None:
    film = synthetic_film(1, transfer_syntax_uid=stored)
    copy = copy_of(film, tmp_path)

    given = in_accepted_syntax(copy, stored, accepted)

    assert given.file_meta.TransferSyntaxUID == sent
    assert given.PatientID == "RGN-ABCDEFGH23"


def test_a_broken_value_becomes_empty_and_the_rest_stays(tmp_path: Path) -> None:
    film = synthetic_film(1)
    film.add_new(0x00181152, "IS", "12")
    path = save(film, tmp_path / "film.dcm")
    content = path.read_bytes().replace(b"\x18\x00\x52\x11IS\x02\x0012", b"\x18\x00\x52\x11IS\x02\x00Mr")
    path.write_bytes(content)

    copy = pseudonymous_copy(path, SUBSTITUTION, "OURS")

    assert copy.Exposure in (None, "")
    assert copy.PatientID == "RGN-ABCDEFGH23"
