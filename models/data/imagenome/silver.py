"""The silver data set: scene graphs made by machine from reports, read one film at a time."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from models.data.films import Film, Progress
from models.data.imagenome.boxes import clean_boxes, of_other_size
from models.data.imagenome.graphs import SceneGraphs, open_graphs
from models.data.imagenome.images import MimicImages, find_images
from models.data.imagenome.splits import AVOID, Listed, listed_films, patients_to_avoid, present_splits, split_sizes
from models.data.imagenome.statements import graph_statements, region_findings
from models.data.noise import Noise, NoiseReport
from models.data.pixels import image_size
from regionmir.core.anatomy import anatomies
from regionmir.core.geometry import Box

SOURCE = "mimic-cxr"
AGE_GROUP = "adult"
"""MIMIC-CXR holds adults only."""


class SilverData:
    """Chest ImaGenome's folder `silver_dataset` as a `DataSet`: splits train, valid and test.

    Patients to avoid are in none of them. Films come one at a time; nothing is kept but the lists' identifiers.
    """

    kind = "Chest ImaGenome silver"

    def __init__(self, path: Path, images: Path | None = None) -> None:
        self.path = path
        self.noise = NoiseReport()
        self._images = images
        self._lists = path / "splits"

    def splits(self) -> tuple[str, ...]:
        """Return the splits that have a list."""
        return present_splits(self._lists)

    def films(self, split: str | None = None, progress: Progress | None = None) -> Iterator[Film]:
        """Yield the films of one split or of all, in the order of the lists; `noise` counts anew."""
        self.noise.clear()
        avoid = patients_to_avoid(self._lists)
        sizes = split_sizes(self._lists, avoid)
        wanted = [name for name in sizes if split in (None, name)]
        total, done, seen = sum(sizes[name] for name in wanted), 0, set[str]()
        images = find_images(self.path, self._images)
        with open_graphs(self.path) as graphs:
            for name in wanted:
                for listed in listed_films(self._lists / f"{name}.csv"):
                    film = None
                    if listed.subject in avoid:
                        self.noise.add(Noise.AVOIDED)
                    elif listed.dicom in seen:
                        self.noise.add(Noise.LISTED_TWICE)
                    else:
                        film = self._film(listed, name, graphs, images)
                    seen.add(listed.dicom)
                    if film is not None:
                        yield film
                    done += 1
                    if progress:
                        progress(done, total)
            if split is None:
                self._count_unlisted(graphs, seen)

    def _film(self, listed: Listed, split: str, graphs: SceneGraphs, images: MimicImages) -> Film | None:
        graph = graphs.read(listed.dicom)
        path = images.path(listed.subject, listed.study, listed.dicom)
        if graph is None or path is None:
            self.noise.add(Noise.NO_GRAPH if graph is None else Noise.NO_IMAGE)
            return None
        if _patient(graph) not in ("", listed.subject):
            self.noise.add(Noise.OTHER_PATIENT)
            return None
        width, height = image_size(path, listed.where)
        objects = list(self._objects(graph))
        if of_other_size(objects, width, height):
            self.noise.add(Noise.OTHER_SIZE)
            return None
        boxes = clean_boxes(objects, width, height, self.noise)
        if not boxes:
            self.noise.add(Noise.NO_BOX)
            return None
        if len(boxes) < len(anatomies()):
            self.noise.add(Noise.NOT_ALL_ANATOMIES)
        findings = region_findings(graph_statements(graph.get("attributes"), self.noise), self.noise)
        return mimic_film(listed, path, (width, height), split, boxes, "silver", findings)

    def _objects(self, graph: dict[str, Any]) -> Iterator[dict[str, Any]]:
        objects = graph.get("objects")
        for one in objects if isinstance(objects, list) else []:
            if isinstance(one, dict):
                yield one
            else:
                self.noise.add(Noise.MALFORMED)

    def _count_unlisted(self, graphs: SceneGraphs, seen: set[str]) -> None:
        listed = seen | {one.dicom for one in listed_films(self._lists / AVOID)}
        self.noise.add(Noise.NOT_LISTED, sum(name not in listed for name in graphs.names()))


def mimic_film(
    listed: Listed,
    path: Path,
    size: tuple[int, int],
    split: str,
    boxes: dict[int, Box],
    origin: str,
    findings: dict[int, Any],
) -> Film:
    """Return a film of MIMIC-CXR; `finding` stays empty, what is known of regions stands in `findings`."""
    return Film(
        name=listed.dicom,
        path=path,
        width=size[0],
        height=size[1],
        source=SOURCE,
        patient=listed.subject,
        finding="",
        age_group=AGE_GROUP,
        split=split,
        boxes=boxes,
        origins=_origins(tuple(boxes), origin),
        findings=findings,
        listed=listed.where,
    )


@cache
def _origins(keys: tuple[int, ...], origin: str) -> dict[int, str]:
    """Return one mapping for all films with boxes of the same anatomies: it is read, never written."""
    return dict.fromkeys(keys, origin)


def _patient(graph: dict[str, Any]) -> str:
    return str(graph.get("patient_id") or "").strip().removeprefix("p")
