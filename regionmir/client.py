"""A client of the JSON API, for programs and notebooks: needs httpx alone, and nothing of the server.

with RegionMir("http://127.0.0.1:8080", token="rgn_...") as mir:
    for hit in mir.similar("4711", ["LLLZ"]).hits:
        print(hit.rank, hit.similarity, hit.instance.patient)
"""

import datetime as dt
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

_PATH = "/api/v1"
_RETRIED = frozenset({"box-waiting", "not-indexed", "too-many-requests", "unavailable", "no-model"})
"""Problems that time cures."""
_UNFINISHED = frozenset({"received", "indexing"})
_PAUSE_S = 1.0
_LONGEST_WAIT_S = 10.0
_TYPES = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg"}


class ClientError(Exception):
    """The server refused or could not be reached; the message says what to do.

    `status`: of HTTP, 0 where no answer came. `code`: a short stable word such as `unknown-anchor`.
    """

    def __init__(self, message: str, *, status: int = 0, code: str = "no-answer") -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True, slots=True)
class Box:
    """A half-open rectangle in stored pixels of a film: x right, y down."""

    x0: float
    y0: float
    x1: float
    y1: float


@dataclass(frozen=True, slots=True)
class Region:
    """A region that was found in a film; `score` 0..1 says how sure the model is of the box."""

    region: str
    name: str
    box: Box
    score: float


@dataclass(frozen=True, slots=True)
class Original:
    """Who and what an instance really is; told to identified callers alone."""

    patient_id: str
    patient_name: str
    accession_number: str
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class Instance:
    """An instance of the archive; `id`, `study` and `patient` are pseudonyms. `withheld`: why it has no pictures."""

    id: str
    study: str
    patient: str
    state: str
    reason: str
    modality: str
    view: str
    sex: str
    age_years: int | None
    study_date: dt.date | None
    rows: int | None
    columns: int | None
    regions: tuple[Region, ...]
    withheld: str
    original: Original | None = None

    def region(self, short: str) -> Region | None:
        """Return the region with this short form, None where it was not found."""
        return next((one for one in self.regions if one.region == short.upper()), None)


@dataclass(frozen=True, slots=True)
class Hit:
    """A similar study by its most similar film. `similarity`: a cosine, -1..1, never a probability."""

    rank: int
    similarity: float
    instance: Instance


@dataclass(frozen=True, slots=True)
class Answer:
    """Hits by rank; `indexed` of `total` instances were searched. `code` opens the answer again, where it was kept."""

    code: str | None
    disclosure: str
    regions: tuple[str, ...]
    combine: str
    box: Box | None
    indexed: int
    total: int
    anchor: Instance | None
    hits: tuple[Hit, ...]


@dataclass(frozen=True, slots=True)
class Film:
    """An uploaded film. `state`: `indexed` where it can be searched; else `reason` says why not."""

    id: str
    state: str
    reason: str
    expires_at: dt.datetime
    view: str
    rows: int | None
    columns: int | None
    regions: tuple[Region, ...]


@dataclass(frozen=True, slots=True)
class Anatomy:
    """A region that can be searched, with its code."""

    region: str
    name: str
    code: str
    scheme: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the server can answer; `missing` says what is not ready."""

    version: str
    ready: bool
    missing: Mapping[str, str] = field(default_factory=dict)


class RegionMir:
    """A connection to a RegionMIR. Use it in a `with` block, or call `close`. Every method raises `ClientError`.

    `token`: of `regionmir tokens add`; none is needed on the server's own machine to ask and read, pseudonymously.
    `patience_s`: how long a question is asked again while the server says that time will cure it.
    """

    def __init__(self, url: str, token: str = "", *, timeout_s: float = 60.0, patience_s: float = 30.0) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.Client(base_url=url.rstrip("/"), headers=headers, timeout=timeout_s)
        self._patience_s = patience_s

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def health(self) -> Health:
        """Return the version of the server and whether it can answer."""
        response = self._sent("GET", f"{_PATH}/health")
        if response.status_code not in (200, 503):
            raise _error(response)
        return Health(**response.json())

    def regions(self) -> tuple[Anatomy, ...]:
        """Return the regions that can be searched."""
        return tuple(Anatomy(**one) for one in self._json("GET", "/regions"))

    def similar(
        self,
        anchor: "str | Film",
        regions: Sequence[str] = (),
        *,
        k: int = 10,
        combine: str = "similarity",
        box: Box | Sequence[float] | None = None,
        filters: Mapping[str, Any] | None = None,
        with_same_patient: bool = False,
    ) -> Answer:
        """Return the studies with the most similar regions, best first, one hit per study.

        `anchor`: accession number, UID, pseudonym, code of an answer, or an uploaded film. `box`: drawn on the
        anchor's film, x0, y0, x1, y1 in stored pixels. `filters`: `sex`, `modality` (lists), `age_from`, `age_to`,
        `study_date_from`, `study_date_to`.
        """
        asked: dict[str, Any] = {"film": anchor.id} if isinstance(anchor, Film) else {"anchor": anchor}
        asked |= {"regions": list(regions), "k": k, "combine": combine, "with_same_patient": with_same_patient}
        if box is not None:
            corners = (box.x0, box.y0, box.x1, box.y1) if isinstance(box, Box) else tuple(box)
            asked["box"] = dict(zip(("x0", "y0", "x1", "y1"), corners, strict=True))
        if filters:
            asked["filters"] = {name: _plain(value) for name, value in filters.items()}
        return _answer(self._json("POST", "/queries", json=asked))

    def result_set(self, code: str) -> Answer:
        """Return the answer that was given under this code."""
        return _answer(self._json("GET", f"/result-sets/{_part(code)}"))

    def instance(self, id_: str) -> Instance:
        """Return one instance by its pseudonymous id."""
        return _instance(self._json("GET", f"/instances/{_part(id_)}"))

    def instances(self, *, state: str | None = None) -> Iterator[Instance]:
        """Yield all instances in the order in which they came, or those in one state, page by page."""
        path: str | None = "/instances?limit=200" + (f"&state={_part(state)}" if state else "")
        while path is not None:
            page = self._json("GET", path)
            yield from map(_instance, page["instances"])
            path = page["next"].removeprefix(_PATH) if page["next"] else None

    def lookup(self, anchor: str) -> tuple[Instance, ...]:
        """Return the instances that an accession number or an original UID names; for identified callers."""
        return tuple(_instance(one) for one in self._json("POST", "/instances/lookup", json={"anchor": anchor}))

    def upload(self, film: Path | bytes, *, wait_s: float = 30.0) -> Film:
        """Upload a film (DICOM, PNG or JPEG) to compare it, and return what was found in it. It is not archived.

        A film that is not indexed after `wait_s` seconds has state `received` or `indexing`; `film` tells later.
        """
        content = film if isinstance(film, bytes) else film.read_bytes()
        kind = next((kind for head, kind in _TYPES.items() if content.startswith(head)), "application/dicom")
        end = time.monotonic() + wait_s
        headers = {"Content-Type": kind}
        found = _film(self._json("POST", f"/films?wait={_wait(wait_s)}", content=content, headers=headers))
        while found.state in _UNFINISHED and (left := end - time.monotonic()) > 0:
            found = self.film(found.id, wait_s=left)
        return found

    def film(self, id_: str, *, wait_s: float = 0.0) -> Film:
        """Return what has become of an uploaded film."""
        return _film(self._json("GET", f"/films/{_part(id_)}?wait={_wait(wait_s)}"))

    def forget(self, film: Film) -> None:
        """Let the server forget an uploaded film now."""
        self._answered("DELETE", f"/films/{_part(film.id)}")

    def film_png(self, instance: Instance) -> bytes:
        """Return the film of an instance as viewed, a PNG."""
        return self._answered("GET", f"/instances/{instance.id}/film.png").content

    def thumbnail_jpeg(self, instance: Instance) -> bytes:
        """Return the film of an instance as viewed, a small JPEG."""
        return self._answered("GET", f"/instances/{instance.id}/thumbnail.jpg").content

    def region_png(self, instance: Instance, region: str) -> bytes:
        """Return one region of an instance in its surroundings, a PNG."""
        return self._answered("GET", f"/instances/{instance.id}/regions/{_part(region)}.png").content

    def _json(self, method: str, path: str, **options: Any) -> Any:
        return self._answered(method, path, **options).json()

    def _answered(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Return the answer, asking again while time may cure what is wrong."""
        end = time.monotonic() + self._patience_s
        while True:
            response = self._sent(method, _PATH + path, **options)
            if response.is_success:
                return response
            error = _error(response)
            pause_s = _retry_after(response)
            if error.code not in _RETRIED or time.monotonic() + pause_s > end:
                raise error
            time.sleep(pause_s)

    def _sent(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **options)
        except httpx.InvalidURL as error:
            raise ClientError(f"the address is no URL: {error}") from None
        except httpx.HTTPError as error:
            where = self._http.base_url
            raise ClientError(
                f"no answer from {where} ({type(error).__name__}): is `regionmir up` running there, is the URL right?"
            ) from error


def _error(response: httpx.Response) -> ClientError:
    try:
        problem = response.json()
        message, code = f"{problem['title']}: {problem['detail']}", str(problem["code"])
    except (ValueError, KeyError, TypeError):
        message, code = f"{response.reason_phrase}: {response.text.strip()[:200]}", "error"
    return ClientError(message, status=response.status_code, code=code)


def _retry_after(response: httpx.Response) -> float:
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isdigit() else _PAUSE_S


def _wait(wait_s: float) -> float:
    """Return how long one request waits."""
    return max(0.0, min(wait_s, _LONGEST_WAIT_S))


def _part(text: str) -> str:
    """Return text as one part of a path."""
    return quote(text, safe="")


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, dt.date) else value


def _answer(found: Mapping[str, Any]) -> Answer:
    anchor, box = found["anchor"], found["box"]
    return Answer(
        **{
            **found,
            "regions": tuple(found["regions"]),
            "box": Box(**box) if box else None,
            "anchor": _instance(anchor) if anchor else None,
            "hits": tuple(Hit(hit["rank"], hit["similarity"], _instance(hit["instance"])) for hit in found["hits"]),
        }
    )


def _instance(found: Mapping[str, Any]) -> Instance:
    values = {name: value for name, value in found.items() if name != "links"}
    day, original = found["study_date"], found["original"]
    return Instance(
        **{
            **values,
            "study_date": dt.date.fromisoformat(day) if day else None,
            "regions": tuple(map(_region, found["regions"])),
            "original": Original(**original) if original else None,
        }
    )


def _film(found: Mapping[str, Any]) -> Film:
    expires_at = dt.datetime.fromisoformat(found["expires_at"])
    return Film(**{**found, "expires_at": expires_at, "regions": tuple(map(_region, found["regions"]))})


def _region(found: Mapping[str, Any]) -> Region:
    return Region(found["region"], found["name"], Box(**found["box"]), found["score"])
