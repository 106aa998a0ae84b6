"""The silver data set: scene graphs made by machine from reports, read one film at a time."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from models.data.films import Film, Progress
from models.data.imagenome.film import mimic_film
from models.data.imagenome.graphs import SceneGraphs, open_graphs
from models.data.imagenome.images import MimicImages, find_images
from models.data.imagenome.splits import AVOID, Listed, listed_films, patients_to_avoid, present_splits, split_sizes
from models.data.imagenome.statements import graph_statements
from models.data.noise import Noise, NoiseReport
from regionmir.core.anatomy import anatomies


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
        total, seen = sum(sizes[name] for name in wanted), set[str]()
        rows = ((name, listed) for name in wanted for listed in listed_films(self._lists / f"{name}.csv"))
        images = find_images(self.path, self._images)
        with open_graphs(self.path) as graphs:
            for done, (name, listed) in enumerate(rows, start=1):
                wants = self._wants(listed, avoid, seen)
                film = self._film(listed, name, graphs, images) if wants else None
                if film is not None:
                    yield film
                if progress:
                    progress(done, total)
            if split is None:
                self._count_unlisted(graphs, seen)

    def _wants(self, listed: Listed, avoid: frozenset[str], seen: set[str]) -> bool:
        """Say whether a row is of use, and count why not; it is then `seen`."""
        twice = listed.dicom in seen
        seen.add(listed.dicom)
        if listed.subject in avoid:
            self.noise.add(Noise.AVOIDED)
            return False
        if twice:
            self.noise.add(Noise.LISTED_TWICE)
        return not twice

    def _film(self, listed: Listed, split: str, graphs: SceneGraphs, images: MimicImages) -> Film | None:
        graph = graphs.read(listed.dicom)
        if graph is None:
            self.noise.add(Noise.NO_GRAPH)
            return None
        if _patient(graph) not in ("", listed.subject):
            self.noise.add(Noise.OTHER_PATIENT)
            return None
        objects, statements = list(self._objects(graph)), graph_statements(graph.get("attributes"), self.noise)
        return mimic_film(
            listed,
            images,
            objects,
            statements,
            split=split,
            origin="silver",
            expected=anatomies(),
            noise=self.noise,
        )

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


def _patient(graph: dict[str, Any]) -> str:
    return str(graph.get("patient_id") or "").strip().removeprefix("p")
