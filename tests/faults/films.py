"""Any number of films with identities of their own, of a few real radiographs."""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from regionmir.admin.demo.films import extract
from regionmir.core.identifiers import Uid
from regionmir.pixels.dicomize import Naming, dicomize_films, read_films
from tests.support.end_to_end import dataset_bytes


@dataclass(frozen=True)
class Film:
    """One instance on its way. `picture` is the radiograph's digest: several films show one, also of several files."""

    path: Path
    sop_instance_uid: Uid
    study_instance_uid: Uid
    accession_number: str
    picture: str
    sha256: str
    """Of the data set, as it is sent."""


def endless_films(folder: Path, shared: Path | None, pictures: int) -> Iterator[Film]:
    """Yield films for ever: these many radiographs (the shared ones, else the demo's) under ever new identities."""
    source = shared / "data" / "cxr" if shared else folder / "pictures"
    if shared is None:
        extract(folder)
    chosen = [film for film in read_films(source) if film.split in ("val", "demo")][:pictures]
    digests = {film.image: sha256((source / film.image).read_bytes()).hexdigest() for film in chosen}
    for turn in range(10_000):
        made = dicomize_films(chosen, folder / f"turn{turn}", naming=Naming(f"F{turn:04d}", burned_in_annotation="NO"))
        assert not made.errors
        for one in made.written:
            path = folder / f"turn{turn}" / one.file
            digest = sha256(dataset_bytes(path)).hexdigest()
            uids = one.sop_instance_uid, one.study_instance_uid
            yield Film(path, *uids, one.accession_number, digests[one.image], digest)
