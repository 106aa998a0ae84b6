"""The document: the contact sheet with a table of hits and of the query's regions, as a PDF inside DICOM."""

from collections.abc import Sequence
from functools import partial
from io import BytesIO
from typing import Any, Final

from pydicom.dataset import Dataset
from reportlab.lib import colors
from reportlab.lib.enums import TA_LEFT
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle, getSampleStyleSheet
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, Image, Paragraph, SimpleDocTemplate, Spacer, Table

from regionmir.pixels import draw
from regionmir.pixels.render import HEADER_TEXT, OTHER_PATIENTS
from regionmir.results.objects import DOCUMENT, MANUFACTURER, finished, new_object
from regionmir.results.sheet import describe, sheet_pages
from regionmir.results.source import KeptAnswer, ResultSource

_MARGIN: Final = 15 * mm
_WIDTH: Final = A4[0] - 2 * _MARGIN
_STYLES: Final = getSampleStyleSheet()
_TITLE: Final = ParagraphStyle("title", _STYLES["Title"], alignment=TA_LEFT)
_WARNING: Final = ParagraphStyle("warning", _STYLES["Normal"], textColor=colors.HexColor("#b3261e"), fontSize=11)
_FAINT: Final = colors.HexColor("#5a6472")
_TABLE: Final = [
    ("FONT", (0, 0), (-1, -1), "Helvetica", 9),
    ("FONT", (0, 0), (-1, 0), "Helvetica-Bold", 9),
    ("LINEBELOW", (0, 0), (-1, 0), 0.8, _FAINT),
    ("LINEBELOW", (0, 1), (-1, -1), 0.25, colors.HexColor("#d5dae1")),
    ("TOPPADDING", (0, 0), (-1, -1), 2),
    ("BOTTOMPADDING", (0, 0), (-1, -1), 2),
]


def similar_regions_pdf(source: ResultSource, answer: KeptAnswer) -> Dataset:
    """Return an Encapsulated PDF (PS3.3 A.45.1) of the contact sheet, its hits and the query's regions."""
    document = pdf_bytes(source, answer)
    made = new_object(source, DOCUMENT, describe(answer), answer.code)
    made.ConversionType = "WSD"
    made.BurnedInAnnotation = "YES"
    made.AcquisitionDateTime = None
    made.DocumentTitle = f"{OTHER_PATIENTS} regions similar to {answer.name}"
    made.ConceptNameCodeSequence = []
    made.MIMETypeOfEncapsulatedDocument = "application/pdf"
    made.EncapsulatedDocumentLength = len(document)
    made.EncapsulatedDocument = document + b"\0" * (len(document) % 2)
    return finished(made, source)


def pdf_bytes(source: ResultSource, answer: KeptAnswer) -> bytes:
    """Return an A4 PDF; equal input gives equal bytes. The patient stands in it by ID and accession number."""
    buffer = BytesIO()
    template = SimpleDocTemplate(
        buffer,
        pagesize=A4,
        leftMargin=_MARGIN,
        rightMargin=_MARGIN,
        topMargin=_MARGIN,
        bottomMargin=_MARGIN + 6 * mm,
        title=f"{OTHER_PATIENTS} regions similar to {answer.name}",
        author=MANUFACTURER,
        invariant=True,
    )
    footer = partial(_draw_footer, source, answer)
    template.build(_story(source, answer), onFirstPage=footer, onLaterPages=footer)
    return buffer.getvalue()


def _story(source: ResultSource, answer: KeptAnswer) -> list[Flowable]:
    return [
        Paragraph(f"Regions similar to: {answer.name} ({answer.short})", _TITLE),
        Paragraph(f"<b>{HEADER_TEXT}</b>", _WARNING),
        Spacer(0, 3 * mm),
        _facts(source, answer),
        Spacer(0, 4 * mm),
        *_pictures(answer),
        Paragraph("Hits", _STYLES["Heading2"]),
        _hits(answer),
        Paragraph("Regions found on the query image", _STYLES["Heading2"]),
        _regions(source),
    ]


def _facts(source: ResultSource, answer: KeptAnswer) -> Table:
    subject = source.image.subject
    rows = [
        ("Result set", f"{answer.code}    (search {answer.ae_title} for: SIM {answer.code})"),
        ("Patient ID", _printable(subject.get("PatientID"))),
        ("Accession number", _printable(subject.get("AccessionNumber"))),
        ("Study date", _date(subject.get("StudyDate"))),
        ("Model", f"{source.model.name} {source.model.version}"),
        ("Searched", answer.coverage),
    ]
    table = Table([row for row in rows if row[1]], colWidths=[35 * mm, _WIDTH - 35 * mm])
    table.setStyle([*_TABLE, ("FONT", (0, 0), (-1, 0), "Helvetica", 9), ("TEXTCOLOR", (0, 0), (0, -1), _FAINT)])
    return table


def _pictures(answer: KeptAnswer) -> list[Flowable]:
    found: list[Flowable] = []
    for page in sheet_pages(answer):
        found += [
            Image(BytesIO(draw.encoded(page, "JPEG")), _WIDTH, _WIDTH * page.height / page.width),
            Spacer(0, 3 * mm),
        ]
    return found


def _hits(answer: KeptAnswer) -> Table:
    rows = [(f"#{hit.rank}", f"{hit.similarity:.3f}", hit.view, hit.age_band) for hit in answer.hits]
    return _table(("Rank", "Similarity", "View", "Age"), rows)


def _regions(source: ResultSource) -> Table:
    rows = [
        (region.anatomy.name, region.anatomy.short, f"{region.score:.2f}", _corners(region.box.as_tuple()))
        for region in source.regions
    ]
    return _table(("Region", "Short", "Score", "Box in pixels: left, top, right, bottom"), rows)


def _corners(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.0f}" for value in values)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table([head, *rows], colWidths=[55 * mm, 30 * mm, 25 * mm, _WIDTH - 110 * mm], repeatRows=1)
    table.setStyle(_TABLE)
    return table


def _draw_footer(source: ResultSource, answer: KeptAnswer, canvas: Canvas, _template: Any) -> None:
    canvas.saveState()
    canvas.setFont("Helvetica", 8)
    canvas.setFillColor(_FAINT)
    canvas.drawString(_MARGIN, _MARGIN, f"{HEADER_TEXT}    SIM {answer.code}")
    made = source.made_at.strftime("%Y-%m-%d %H:%M")
    canvas.drawRightString(A4[0] - _MARGIN, _MARGIN, f"{MANUFACTURER}  {made}  page {canvas.getPageNumber()}")
    canvas.restoreState()


def _date(value: object) -> str:
    text = _printable(value)
    return f"{text[:4]}-{text[4:6]}-{text[6:]}" if len(text) == 8 else text


def _printable(value: object) -> str:
    """Return a value that the PDF's own typefaces have letters for, empty for every other."""
    text = str(value or "")
    return text if text.isascii() else ""
