"""What the API takes and gives, as pydantic models: the source of its OpenAPI."""

import datetime as dt
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from regionmir.core.records import Disclosure, InstanceState
from regionmir.query.request import MAX_K, Combine

_SHORT = Field(description="short form of a region, as in its AE title", examples=["LLLZ"])
_PIXELS = "stored pixels of the film: x right, y down"

Short = Annotated[str, _SHORT]
Uid = Annotated[str, Field(examples=["2.25.329800735698586629295641978511506172918"])]


class _Model(BaseModel):
    """Base of all models."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class BoxModel(_Model):
    """A half-open rectangle in stored pixels of a film: x right, y down."""

    x0: FiniteFloat = Field(description=f"left, {_PIXELS}", examples=[1200])
    y0: FiniteFloat = Field(examples=[1500])
    x1: FiniteFloat = Field(examples=[1800])
    y1: FiniteFloat = Field(examples=[2100])


class Filters(_Model):
    """What hits must pass, in the form in which the caller sees it: shifted dates, ages in bands of five years."""

    sex: list[Literal["F", "M", "O"]] = Field(default=[], max_length=3)
    modality: list[Annotated[str, Field(pattern="^[A-Z]{2,16}$")]] = Field(default=[], max_length=8, examples=[["DX"]])
    age_from: int | None = Field(default=None, ge=0, le=150, description="years")
    age_to: int | None = Field(default=None, ge=0, le=150, description="years, inclusive")
    study_date_from: dt.date | None = None
    study_date_to: dt.date | None = Field(default=None, description="inclusive")


class Question(_Model):
    """Which studies have regions like these? Say `anchor`, a study of the archive, or `film`, an uploaded one."""

    anchor: str | None = Field(
        default=None,
        min_length=1,
        max_length=64,
        pattern=r"^[^\x00-\x1f\x7f]+$",
        description="accession number, Study, Series or SOP Instance UID (or its pseudonym), or the code of an answer",
        examples=["4711"],
    )
    film: str | None = Field(default=None, pattern="^[0-9a-f]{32}$", description="`id` of an uploaded film")
    regions: list[Annotated[str, Field(min_length=1, max_length=16)]] = Field(
        default=[], max_length=32, description="short forms; may be left out with the code of an answer, or with a box"
    )
    k: int = Field(10, ge=1, le=MAX_K, description="most hits, one per study")
    combine: Combine = Field(Combine.SIMILARITY, description="how several regions make one order")
    box: BoxModel | None = Field(
        default=None, description="a drawn box on the anchor's film, in place of a region found there"
    )
    filters: Filters = Filters()
    with_same_patient: bool = Field(
        default=False, description="other studies of the anchor's patient may be hits; for identified callers only"
    )


class RegionModel(_Model):
    """A region that was found in a film."""

    region: Short
    name: str = Field(examples=["left lower lung zone"])
    box: BoxModel
    score: float = Field(ge=0, le=1, description="how sure the model is of this box")


class Links(_Model):
    """Where pictures are; paths on this server, to be asked for with the same token."""

    self: str
    film: str | None = Field(default=None, description="PNG; none where the pixels are withheld, or not yet read")
    thumbnail: str | None = Field(default=None, description="JPEG")
    regions: dict[str, str] = Field(default={}, description="PNG of each region in its surroundings")


class Original(_Model):
    """Who and what it really is: for identified callers only."""

    patient_id: str
    patient_name: str
    accession_number: str
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str


class InstanceModel(_Model):
    """One instance of the archive. `id`, `study` and `patient` are pseudonyms, whoever asks."""

    id: Uid
    study: Uid
    patient: str = Field(examples=["RGN-ABCDEFGH23"])
    state: InstanceState
    reason: str = Field(description="why it is not indexed; empty where it is")
    modality: str
    view: str = Field(description="PA, AP, or empty where it is not known")
    sex: str
    age_years: int | None = Field(description="pseudonymous: the first year of a band of five, at most 90")
    study_date: dt.date | None = Field(description="pseudonymous: moved by the days of its patient")
    rows: int | None
    columns: int | None
    regions: list[RegionModel]
    withheld: str = Field(description="why there are no pictures, empty where there are")
    links: Links
    original: Original | None = None


class HitModel(_Model):
    """One similar study and its most similar film."""

    rank: int = Field(ge=1)
    similarity: float = Field(
        ge=-1.01, le=1.01, description="cosine, the mean over the regions asked; never a probability"
    )
    instance: InstanceModel = Field(description="with the regions asked for alone")


class AnswerModel(_Model):
    """The answer to a question: hits by rank."""

    code: str | None = Field(description="opens the same answer later; none for anonymous callers and uploaded films")
    disclosure: Disclosure
    regions: list[Short]
    combine: Combine
    box: BoxModel | None
    indexed: int = Field(description="instances searched, of `total` that are to be indexed")
    total: int
    anchor: InstanceModel | None = Field(description="what was compared; for identified callers, not of uploaded films")
    hits: list[HitModel]


class FilmModel(_Model):
    """An uploaded film: no part of the archive, seen by its uploader alone, forgotten at `expires_at`."""

    id: str = Field(examples=["0123456789abcdef0123456789abcdef"])
    state: InstanceState
    reason: str = Field(description="why it cannot be searched; empty where it can, or while it waits")
    expires_at: dt.datetime
    view: str
    rows: int | None
    columns: int | None
    regions: list[RegionModel]


class Page(_Model):
    """Instances in the order in which they came; `next` is the path of the following page."""

    instances: list[InstanceModel]
    next: str | None


class Lookup(_Model):
    """Which instances has a study? In the body, as an accession number must not stand in a URL."""

    anchor: str = Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$", examples=["4711"])


class RemovalModel(_Model):
    """What is to be deleted, with all that was made of it, and why."""

    level: Literal["instance", "study", "patient"]
    id: str = Field(
        min_length=1,
        max_length=64,
        pattern=r"^[^\x00-\x1f\x7f]+$",
        description="`id` of an instance, or `study` or `patient` of one",
        examples=["RGN-ABCDEFGH23"],
    )
    reason: str = Field(min_length=3, max_length=500, description="kept in the audit trail")
    block: bool = Field(default=False, description="refuse it if it is ever sent again; else it is then new")
    dry_run: bool = Field(default=False, description="only say what would be deleted")


class ExtentModel(_Model):
    """What was deleted, or would be."""

    instances: int
    studies: int
    patients: int
    objects: int = Field(description="objects on the disk, of all versions")
    bytes: int
    answers: int = Field(description="kept answers that started from one of the instances")
    deliveries: int = Field(description="results about them, sent or not")
    dry_run: bool


class AnatomyModel(_Model):
    """A region that can be searched."""

    region: Short
    name: str = Field(examples=["left lower lung zone"])
    code: str = Field(description="code value")
    scheme: str = Field(description="coding scheme designator", examples=["SCT"])
    meaning: str


class Health(_Model):
    """Whether queries can be answered."""

    version: str
    ready: bool
    missing: dict[str, str] = Field(description="what is not ready, and what to do")


class Problem(BaseModel):
    """What is wrong and what to do (RFC 9457)."""

    type: str = Field(examples=["urn:regionmir:problem:unknown-anchor"])
    title: str
    status: int
    detail: str
    code: str = Field(description="short and stable", examples=["unknown-anchor"])
