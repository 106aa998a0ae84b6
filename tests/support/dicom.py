"""A DICOM client that sends whatever a test wants, well-formed or not, and data sets to send."""

import struct
import time
from dataclasses import dataclass
from io import BytesIO

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import UID, generate_uid
from pynetdicom import AE, build_context
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.transport import AssociationSocket

from regionmir.scu.tls_socket import TlsAssociationSocket

# pynetdicom leaves a client's socket open where the node closed first
AssociationSocket._shutdown_socket = TlsAssociationSocket._shutdown_socket  # type: ignore[assignment, method-assign]

CR = "1.2.840.10008.5.1.4.1.1.1"
EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"


@dataclass(frozen=True)
class Response:
    """What a C-STORE was answered."""

    status: int
    comment: str


def radiograph(patient_id: str = "P1", *, size: int = 32, **values: object) -> Dataset:
    """Return a small CR object with UIDs of its own."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID, dataset.SOPInstanceUID = CR, generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.PatientID, dataset.PatientName, dataset.Modality = patient_id, "Test^Patient", "CR"
    dataset.Rows = dataset.Columns = size
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PixelRepresentation = 1, "MONOCHROME2", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    dataset.PixelData = bytes(2 * size * size)
    dataset["PixelData"].VR = "OW"
    return dataset


def encoded(dataset: Dataset, syntax: str = EXPLICIT) -> bytes:
    """Return the bytes of a data set, without preamble and meta group."""
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = UID(syntax).is_implicit_VR, UID(syntax).is_little_endian
    write_dataset(buffer, dataset)
    return buffer.getvalue()


def as_file(dataset: Dataset, syntax: str = EXPLICIT) -> bytes:
    """Return the data set as a Part 10 file."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def associate(
    port: int, contexts: dict[str, list[str]] | None = None, *, calling: str = "TESTSCU", called: str = "REGIONMIR"
) -> Association:
    """Return an association with a node on loopback (or what became of the attempt)."""
    ae = AE(calling)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 20
    proposed = contexts or {CR: [EXPLICIT]}
    built = [build_context(abstract_syntax, syntaxes) for abstract_syntax, syntaxes in proposed.items()]
    return ae.associate("127.0.0.1", port, contexts=built, ae_title=called)


def store(assoc: Association, dataset: Dataset) -> Response:
    """Send one data set in the first accepted context and return the answer."""
    context = assoc.accepted_contexts[0]
    data = encoded(dataset, str(context.transfer_syntax[0]))
    return store_bytes(assoc, data, dataset.SOPClassUID, dataset.SOPInstanceUID)


def store_bytes(assoc: Association, data: bytes | None, sop_class: str | None, sop_instance: str | None) -> Response:
    """Send a C-STORE with these bytes as its data set, whatever they are, and return the answer."""
    begin_store(assoc, data is not None, sop_class, sop_instance)
    if data is not None:
        step = 16_000
        for at in range(0, max(len(data), 1), step):
            send_fragment(assoc, data[at : at + step], last=at + step >= len(data))
    return answer(assoc)


def begin_store(assoc: Association, has_data: bool, sop_class: str | None, sop_instance: str | None) -> None:
    """Send a C-STORE command and nothing more."""
    assoc._reactor_checkpoint.clear()
    while not assoc._is_paused:
        time.sleep(0.001)
    elements = [(0x0100, struct.pack("<H", 1)), (0x0110, struct.pack("<H", 7)), (0x0700, struct.pack("<H", 0))]
    elements.append((0x0800, struct.pack("<H", 1 if has_data else 0x0101)))
    if sop_class is not None:
        elements.append((0x0002, _padded(sop_class)))
    if sop_instance is not None:
        elements.append((0x1000, _padded(sop_instance)))
    body = b"".join(struct.pack("<HHL", 0, number, len(value)) + value for number, value in sorted(elements))
    _send(assoc, b"\x03" + struct.pack("<HHLL", 0, 0, 4, len(body)) + body)


def send_fragment(assoc: Association, data: bytes, *, last: bool) -> None:
    """Send a part of the data set that `begin_store` announced."""
    _send(assoc, (b"\x02" if last else b"\x00") + data)


def answer(assoc: Association) -> Response:
    """Return the answer to what was sent last."""
    _, response = assoc.dimse.get_msg(block=True)
    assoc._reactor_checkpoint.set()
    assert isinstance(response, C_STORE), "no answer"
    return Response(response.Status or 0, response.ErrorComment or "")


def _send(assoc: Association, fragment: bytes) -> None:
    primitive = P_DATA()
    primitive.presentation_data_value_list.append((assoc.accepted_contexts[0].context_id, fragment))
    assoc.dul.send_pdu(primitive)


def _padded(text: str) -> bytes:
    value = text.encode("ascii")
    return value + b"\0" if len(value) % 2 else value
