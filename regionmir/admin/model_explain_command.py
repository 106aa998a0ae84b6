"""`regionmir model explain`: which parts of a region make it like another one, as a picture."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from PIL import Image, UnidentifiedImageError

from regionmir.admin.context import JSON, console, print_json
from regionmir.core.anatomy import Anatomy, anatomy_by_short
from regionmir.core.errors import RegionMirError
from regionmir.core.geometry import Box
from regionmir.pixels import draw
from regionmir.pixels.decode import DisplayValues, display_image
from regionmir.pixels.heat import heat_picture

if TYPE_CHECKING:
    from models.region_model import RegionModel

_PICTURES = frozenset({".png", ".jpg", ".jpeg"})
_HEIGHT = 420
_GAP = 16


def add_to(app: typer.Typer) -> None:
    """Add the command to `app`, the group `model`."""
    app.command("explain")(explain_command)


def explain_command(
    query: Annotated[Path, typer.Argument(help="Radiograph that asks: DICOM, PNG or JPEG.")],
    hit: Annotated[Path, typer.Argument(help="Radiograph that is like it.")],
    region: Annotated[str, typer.Option(help="Region's short name, such as LLLZ.")],
    out: Annotated[Path, typer.Option(help="PNG to write: both regions, query left, warm where they are alike.")],
    model: Annotated[str | None, typer.Option(help="Name of a shipped model, or its folder.")] = None,
    as_json: bool = JSON,
) -> None:
    """Show which parts of a region of two films raise their similarity (warm) and which lower it (cold).

    Example: regionmir model explain a.dcm b.dcm --region LLLZ --out why.png
    """
    from models.explain import explain_pair
    from models.registry import load_model

    anatomy, loaded = anatomy_by_short(region), load_model(model)
    films = [_read(path) for path in (query, hit)]
    boxes = [_box(loaded, path, film, anatomy) for path, film in zip((query, hit), films, strict=True)]
    found = explain_pair(loaded, (films[0], boxes[0]), (films[1], boxes[1]), anatomy)
    maps = (found.query, found.hit)
    crops = [draw.cropped(film, box) for film, box in zip(films, boxes, strict=True)]
    _side_by_side([heat_picture(crop, cells) for crop, cells in zip(crops, maps, strict=True)]).save(out, "PNG")
    if as_json:
        print_json(
            {"region": anatomy.short, "similarity": round(found.similarity, 4), "maps": [m.tolist() for m in maps]}
        )
        return
    console.print(f"{anatomy.name}: similarity {found.similarity:.3f}; picture: {out}")


def _read(path: Path) -> DisplayValues:
    """Return the display values of a DICOM object or a picture. Raises `RegionMirError` where it is neither."""
    if path.suffix.lower() not in _PICTURES:
        return display_image(path).values
    try:
        with Image.open(path) as opened:
            return np.asarray(opened.convert("L"), dtype=np.float32) / np.float32(255)
    except (OSError, UnidentifiedImageError) as error:
        raise RegionMirError(f"{path} cannot be read as an image ({type(error).__name__})") from None


def _box(model: "RegionModel", path: Path, film: DisplayValues, anatomy: Anatomy) -> Box:
    analysis = model.analyse([film])[0]
    if not analysis.accepted:
        raise RegionMirError(f"{path}: {analysis.reason}")
    for found in analysis.regions:
        if found.region.anatomy == anatomy:
            height, width = film.shape
            return found.region.box.clipped(width, height)
    raise RegionMirError(f"{path}: no {anatomy.name} found")


def _side_by_side(pictures: list[Image.Image]) -> Image.Image:
    scaled = [p.resize((max(1, round(p.width * _HEIGHT / p.height)), _HEIGHT)) for p in pictures]
    sheet = Image.new(
        "RGB", (sum(p.width for p in scaled) + _GAP * (len(scaled) + 1), _HEIGHT + 2 * _GAP), draw.BACKGROUND
    )
    left = _GAP
    for picture in scaled:
        sheet.paste(picture, (left, _GAP))
        left += picture.width + _GAP
    return sheet
