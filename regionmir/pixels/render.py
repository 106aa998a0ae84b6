"""Pictures for people: a film with its boxes, a crop, and the sheet that shows a query beside its hits."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from PIL import Image, ImageDraw

from regionmir.core.geometry import Box
from regionmir.pixels import draw
from regionmir.pixels.draw import Colour, Mark, Picture

HEADER_TEXT = "SIMILAR REGIONS, OTHER PATIENTS, NOT FOR DIAGNOSIS"
CROP_TEXT = "NOT THIS PATIENT"
OTHER_PATIENTS = "OTHER PATIENTS:"
"""How the series description of every object with other patients' pixels begins."""

_MARGIN = 24
_GAP = 14
_HEADER = 90
_LABEL = 34
_CAPTION = 26
_CROP_WIDTH = 216
_FILM_HEIGHT = 168
_QUERY_SCALE = 1.35
HITS_PER_ROW = 5
_ONE_LINE = 150
_MARK_SIZE = 16


@dataclass(frozen=True, slots=True)
class Panel:
    """One film on the sheet: its region (`box` in stored pixels), rank and similarity (None for the query).

    Without image, `withheld` says in its place why.
    """

    image: Picture | None
    box: Box
    rank: int | None = None
    similarity: float | None = None
    caption: str = ""
    withheld: str = ""


def png(
    image: Picture,
    boxes: Sequence[Box | Mark] | None = None,
    crop: Box | None = None,
    size: int | None = None,
) -> bytes:
    """Return a PNG of the film as viewed, its longer side at most `size` pixels, with boxes drawn.

    `boxes` and `crop` are in stored pixels. Grey where nothing is drawn. Raises `InvalidBox` for a crop outside.
    """
    values = draw.cropped(image, crop) if crop else draw.values_of(image)
    picture = draw.grey(values)
    if size and max(picture.size) > size:
        picture = draw.fitted(picture, size, size)
    if boxes:
        picture = picture.convert("RGB")
        left, top = _corner(image, crop)
        scale_x, scale_y = picture.width / values.shape[1], picture.height / values.shape[0]
        marks = [box if isinstance(box, Mark) else Mark(box) for box in boxes]
        draw.draw_marks(
            picture,
            [(_scaled(draw.viewed(image, m.box), left, top, scale_x, scale_y), m.label, m.colour) for m in marks],
        )
    return draw.encoded(picture)


@dataclass(frozen=True, slots=True)
class _Tiles:
    """Sizes (width, height) of a crop and of the film below it; height 0 where films are not shown."""

    crop: tuple[int, int]
    film: tuple[int, int]

    @property
    def height(self) -> int:
        return _LABEL + self.crop[1] + _CAPTION + self.film[1] + _GAP

    def larger(self) -> "_Tiles":
        """Return the sizes for the query."""
        grown = [round(v * _QUERY_SCALE) for v in (*self.crop, *self.film)]
        return _Tiles((grown[0], grown[1]), (grown[2], grown[3]))


def comparison_sheet(
    query: Panel, hits: Sequence[Panel], *, title: str = "", coverage: str = "", show_films: bool = True
) -> bytes:
    """Return `comparison_picture` as a PNG."""
    return draw.encoded(comparison_picture(query, hits, title=title, coverage=coverage, show_films=show_films))


def comparison_picture(
    query: Panel,
    hits: Sequence[Panel],
    *,
    title: str = "",
    coverage: str = "",
    show_films: bool = True,
    per_row: int = 0,
) -> Image.Image:
    """Return an RGB picture: the query's region large at the left, the hits' regions beside it, `per_row` in a row.

    Below each crop stands the small whole film with its box, unless `show_films` is False: the sheet then shows no
    pixel outside the regions. Every hit's crop is marked as another patient's. Raises `InvalidBox` for a box outside.
    """
    tiles = _tiles([query, *hits], show_films)
    large = tiles.larger()
    per_row = per_row or max(1, min(HITS_PER_ROW, len(hits)))
    left = _MARGIN + large.crop[0] + 2 * _GAP
    width = max(left + per_row * (_CROP_WIDTH + _GAP) - _GAP + _MARGIN, 900)
    height = _HEADER + max(math.ceil(len(hits) / per_row) * (tiles.height + _GAP), large.height) + _MARGIN
    sheet = Image.new("RGB", (width, height), draw.BACKGROUND)
    _draw_header(sheet, title, coverage)
    _draw_panel(sheet, query, (_MARGIN, _HEADER), large, draw.QUERY)
    for place, hit in enumerate(hits):
        x = left + place % per_row * (_CROP_WIDTH + _GAP)
        y = _HEADER + place // per_row * (tiles.height + _GAP)
        _draw_panel(sheet, hit, (x, y), tiles, draw.HIT, mark=CROP_TEXT)
    if not hits:
        ImageDraw.Draw(sheet).text((left, _HEADER + _LABEL), "no similar region", font=draw.font(20), fill=draw.FAINT)
    return sheet


def _tiles(panels: Sequence[Panel], show_films: bool) -> _Tiles:
    """Return sizes that fit the shape of most regions."""
    seen = [panel.box if panel.image is None else draw.viewed(panel.image, panel.box) for panel in panels]
    shape = min(1.5, max(0.5, median(box.height / box.width for box in seen)))
    return _Tiles((_CROP_WIDTH, round(_CROP_WIDTH * shape)), (_CROP_WIDTH, _FILM_HEIGHT if show_films else 0))


def _corner(image: Picture, crop: Box | None) -> tuple[int, int]:
    if crop is None:
        return 0, 0
    seen = draw.viewed(image, crop)
    return max(0, int(seen.x0)), max(0, int(seen.y0))


def _scaled(box: Box, left: float, top: float, scale_x: float, scale_y: float) -> Box:
    return Box((box.x0 - left) * scale_x, (box.y0 - top) * scale_y, (box.x1 - left) * scale_x, (box.y1 - top) * scale_y)


def _draw_header(sheet: Image.Image, title: str, coverage: str) -> None:
    pen = ImageDraw.Draw(sheet)
    room = sheet.width - 2 * _MARGIN - pen.textlength(coverage, font=draw.font(16)) - _GAP
    pen.text((_MARGIN, 16), draw.shortened(pen, title, 26, room), font=draw.font(26), fill=draw.TEXT)
    pen.text((sheet.width - _MARGIN, 22), coverage, font=draw.font(16), fill=draw.FAINT, anchor="ra")
    pen.text((_MARGIN, 50), HEADER_TEXT, font=draw.font(20), fill=draw.WARNING)


def _draw_panel(
    sheet: Image.Image, panel: Panel, at: tuple[int, int], tiles: _Tiles, colour: Colour, *, mark: str = ""
) -> None:
    pen = ImageDraw.Draw(sheet)
    (x, y), (width, height) = at, tiles.crop
    name = "QUERY" if panel.rank is None else f"#{panel.rank}"
    pen.text((x, y + 4), name, font=draw.font(22), fill=colour)
    if panel.similarity is not None:
        similarity = f"{panel.similarity:.3f}"
        pen.text((x + width, y + 4), similarity, font=draw.font(22), fill=draw.TEXT, anchor="ra")
    if panel.image is None:
        _draw_withheld(sheet, panel.withheld, (x, y + _LABEL), tiles.crop)
    else:
        _paste_crop(sheet, panel.image, panel.box, (x, y + _LABEL), tiles.crop, colour, mark)
    below = y + _LABEL + height
    pen.text((x, below + 4), draw.shortened(pen, panel.caption, 15, width), font=draw.font(15), fill=draw.FAINT)
    if tiles.film[1] and panel.image is not None:
        _paste_film(sheet, panel.image, panel.box, (x, below + _CAPTION), tiles.film, colour)


def _draw_withheld(sheet: Image.Image, why: str, at: tuple[int, int], size: tuple[int, int]) -> None:
    pen = ImageDraw.Draw(sheet)
    pen.rectangle((*at, at[0] + size[0] - 1, at[1] + size[1] - 1), fill=draw.PANEL, outline=draw.FAINT, width=1)
    centre = (at[0] + size[0] / 2, at[1] + size[1] / 2)
    pen.multiline_text(centre, why, font=draw.font(16), fill=draw.FAINT, anchor="mm", align="center")


def _paste_crop(
    sheet: Image.Image,
    image: Picture,
    box: Box,
    at: tuple[int, int],
    size: tuple[int, int],
    colour: Colour,
    mark: str,
) -> None:
    picture = draw.fitted(draw.grey(draw.cropped(image, box)), *size).convert("RGB")
    if mark:
        _burn_in(picture, mark)
    _paste_centred(sheet, picture, at, size)
    ImageDraw.Draw(sheet).rectangle((*at, at[0] + size[0] - 1, at[1] + size[1] - 1), outline=colour, width=2)


def _burn_in(picture: Image.Image, text: str) -> None:
    """Write `text` over the lowest pixels of a crop: it stays when the crop is cut out of the sheet.

    Where one line would be too small to read, it takes two.
    """
    lines = (text,) if picture.width >= _ONE_LINE else tuple(text.rsplit(" ", 1))
    widest = max(draw.font(100).getlength(line) for line in lines) / 100
    size = max(6, min(_MARK_SIZE, int((picture.width - 6) / widest)))
    top = max(0, picture.height - len(lines) * (size + 4) - 4)
    below = picture.crop((0, top, picture.width, picture.height))
    picture.paste(Image.blend(below, Image.new("RGB", below.size, draw.BACKGROUND), 0.75), (0, top))
    at = (picture.width / 2, (top + picture.height) / 2)
    ImageDraw.Draw(picture).multiline_text(
        at, "\n".join(lines), font=draw.font(size), fill=draw.WARNING, anchor="mm", align="center", spacing=4
    )


def _paste_film(
    sheet: Image.Image, image: Picture, box: Box, at: tuple[int, int], size: tuple[int, int], colour: Colour
) -> None:
    values = draw.values_of(image)
    picture = draw.fitted(draw.grey(values), *size).convert("RGB")
    seen = draw.viewed(image, box)
    scaled = _scaled(seen, 0, 0, picture.width / values.shape[1], picture.height / values.shape[0])
    draw.draw_marks(picture, [(scaled, "", colour)], line=2)
    _paste_centred(sheet, picture, at, size)


def _paste_centred(sheet: Image.Image, picture: Image.Image, at: tuple[int, int], size: tuple[int, int]) -> None:
    ImageDraw.Draw(sheet).rectangle((*at, at[0] + size[0] - 1, at[1] + size[1] - 1), fill=draw.PANEL)
    x = at[0] + (size[0] - picture.width) // 2
    y = at[1] + (size[1] - picture.height) // 2
    sheet.paste(picture, (x, y))
