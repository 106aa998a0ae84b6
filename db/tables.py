"""The tables as classes. Schema changes go through `db/migrations`; a test compares the two.

Dates and times of DICOM are kept as `date` where they parse, otherwise as the text received. PHI stays in schema
`public`; the views for statistics are in schema `analytics`.
"""

import datetime as dt
from typing import Annotated, Any

from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Computed,
    Date,
    DateTime,
    Float,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Text,
    UniqueConstraint,
    func,
    literal_column,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

Pk = Annotated[int, mapped_column(BigInteger, Identity(always=False), primary_key=True)]
Big = Annotated[int, mapped_column(BigInteger)]
Small = Annotated[int, mapped_column(SmallInteger)]
Now = Annotated[dt.datetime, mapped_column(DateTime(timezone=True), server_default=func.now())]
Json = Annotated[dict[str, Any], mapped_column(JSONB, server_default=text("'{}'::jsonb"))]
"""Attributes in the DICOM JSON model (PS3.18 F.2), keys like `00100010`."""


class Base(DeclarativeBase):
    """Root of all rows."""

    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy declares it so
        str: Text,
        int: Integer,
        bool: Boolean,
        float: Float,
        dt.date: Date,
        dt.datetime: DateTime(timezone=True),
    }


class PatientRow(Base):
    """One patient: PatientID with its issuer, or, where PatientID is empty, one study (`anonymous_key` = its UID)."""

    __tablename__ = "patient"
    __table_args__ = (
        UniqueConstraint("patient_id", "issuer", "anonymous_key", name="patient_identity"),
        UniqueConstraint("key", name="patient_key"),
    )
    pk: Mapped[Pk]
    patient_id: Mapped[str]
    issuer: Mapped[str]
    anonymous_key: Mapped[str]
    key: Mapped[str] = mapped_column(
        Computed("patient_id || chr(31) || issuer || chr(31) || anonymous_key", persisted=True)
    )
    """`original` of this patient in table `pseudonym`."""
    name: Mapped[str]
    """PatientName as received: up to three component groups joined by `=` (PS3.5 6.2.1)."""
    birth_date: Mapped[dt.date | None]
    sex: Mapped[str]
    date_shift_days: Mapped[int]
    attributes: Mapped[Json]
    corrected_at: Mapped[dt.datetime | None]
    """When an operator corrected it: what arrives changes it no more, and its objects leave with these values."""


class MergedPatientRow(Base):
    """A patient that is another one since: what arrives under `key` is filed under `into_key` (`patient.key`)."""

    __tablename__ = "merged_patient"
    __table_args__ = (Index("merged_patient_into", "into_key"),)
    key: Mapped[str] = mapped_column(primary_key=True)
    into_key: Mapped[str]
    merged_at: Mapped[Now]


class StudyRow(Base):
    """One study, of one patient."""

    __tablename__ = "study"
    __table_args__ = (
        UniqueConstraint("study_instance_uid", name="study_uid"),
        Index("study_patient", "patient_pk"),
        Index("study_by_date", "study_date"),
        Index("study_by_accession", "accession_number"),
        Index("study_by_arrival", "received_at", "pk"),
        Index("study_hidden", "pk", postgresql_where=text("hidden_at IS NOT NULL")),
    )
    pk: Mapped[Pk]
    patient_pk: Mapped[Big] = mapped_column(ForeignKey("patient.pk"))
    study_instance_uid: Mapped[str]
    study_date: Mapped[dt.date | None]
    study_time: Mapped[str]
    accession_number: Mapped[str]
    study_id: Mapped[str]
    study_description: Mapped[str]
    referring_physician: Mapped[str]
    attributes: Mapped[Json]
    received_at: Mapped[Now]
    hidden_at: Mapped[dt.datetime | None]
    """When its PACS was found to have deleted it: it is in no answer since (`db.visibility`), its objects are kept."""
    hidden_why: Mapped[str] = mapped_column(server_default=text("''"))
    known_as: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    """`patient.key` under which its objects came, where that was corrected: they are still accepted under it."""


class SeriesRow(Base):
    """One series, of one study."""

    __tablename__ = "series"
    __table_args__ = (
        UniqueConstraint("series_instance_uid", name="series_uid"),
        Index("series_study", "study_pk"),
    )
    pk: Mapped[Pk]
    study_pk: Mapped[Big] = mapped_column(ForeignKey("study.pk"))
    series_instance_uid: Mapped[str]
    modality: Mapped[str]
    series_number: Mapped[int | None] = mapped_column(BigInteger)
    series_description: Mapped[str]
    body_part: Mapped[str]
    attributes: Mapped[Json]


class InstanceRow(Base):
    """One SOP Instance: what is stored now, and how far the work on it has come."""

    __tablename__ = "instance"
    __table_args__ = (
        UniqueConstraint("sop_instance_uid", name="instance_uid"),
        CheckConstraint(
            "state IN ('received', 'indexing', 'indexed', 'unsupported', 'failed')", name="instance_state_known"
        ),
        CheckConstraint(
            "(state = 'indexing') = (lease_owner IS NOT NULL AND lease_until IS NOT NULL)", name="instance_lease"
        ),
        CheckConstraint("kept IN ('object', 'reduced', 'nothing')", name="instance_kept_known"),
        Index("instance_series", "series_pk"),
        Index("instance_state", "state"),
        Index("instance_waiting", "received_at", "pk", postgresql_where=text("state = 'received'")),
        Index("instance_leased", "lease_until", postgresql_where=text("state = 'indexing'")),
        Index("instance_source", "source_ae", "received_at"),
        Index("instance_object", "storage_key"),
        Index("instance_not_kept", "series_pk", postgresql_where=text("kept <> 'object'")),
        Index("instance_indexed", "indexed_at", postgresql_where=text("state = 'indexed'")),
    )
    pk: Mapped[Pk]
    series_pk: Mapped[Big] = mapped_column(ForeignKey("series.pk"))
    sop_instance_uid: Mapped[str]
    sop_class_uid: Mapped[str]
    transfer_syntax_uid: Mapped[str]
    instance_number: Mapped[int | None] = mapped_column(BigInteger)
    state: Mapped[str]
    reason: Mapped[str]
    sha256: Mapped[str]
    """Of the data set after the meta group, as received."""
    pixel_sha256: Mapped[str | None]
    """Of the decoded stored pixels; null until indexed."""
    storage_key: Mapped[str]
    size_bytes: Mapped[Big]
    source_ae: Mapped[str]
    source_address: Mapped[str]
    called_ae: Mapped[str]
    received_at: Mapped[Now]
    indexed_at: Mapped[dt.datetime | None]
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    lease_owner: Mapped[str | None]
    lease_until: Mapped[dt.datetime | None]
    pipeline_hash: Mapped[str | None]
    view: Mapped[str]
    age_years: Mapped[float | None]
    rows: Mapped[int | None]
    columns: Mapped[int | None]
    attributes: Mapped[Json]
    kept: Mapped[str] = mapped_column(server_default=text("'object'"))
    """What is kept: the object as received, a reduced copy of it (then `storage_key` is the copy's), or nothing."""
    content_sha256: Mapped[str | None]
    """Of attributes and stored values, whatever the transfer syntax: written when the object is no longer kept."""


class RenditionRow(Base):
    """The small rendition of one film, for thumbnails (`regionmir.pixels.rendition`). Goes with what it is of: a
    trigger deletes it when nothing is kept of the instance's object, or another version takes its place."""

    __tablename__ = "rendition"
    instance_pk: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("instance.pk", ondelete="CASCADE"), primary_key=True
    )
    drawn_by: Mapped[str]
    jpeg: Mapped[bytes] = mapped_column(LargeBinary)


class InstanceVersionRow(Base):
    """A version of an instance that is not the current one: replaced (`superseded`) or refused (`conflict`).

    `instance_pk` is null where the instance itself was never filed (its study belongs to another patient).
    """

    __tablename__ = "instance_version"
    __table_args__ = (
        CheckConstraint("kind IN ('superseded', 'conflict')", name="instance_version_kind_known"),
        CheckConstraint("kept IN ('object', 'reduced', 'nothing')", name="instance_version_kept_known"),
        UniqueConstraint("sop_instance_uid", "kind", "sha256", "transfer_syntax_uid", name="instance_version_content"),
        Index("instance_version_instance", "instance_pk"),
        Index("instance_version_object", "storage_key"),
    )
    pk: Mapped[Pk]
    instance_pk: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("instance.pk"))
    sop_instance_uid: Mapped[str]
    study_instance_uid: Mapped[str]
    kind: Mapped[str]
    comment: Mapped[str]
    storage_key: Mapped[str]
    sha256: Mapped[str]
    transfer_syntax_uid: Mapped[str]
    size_bytes: Mapped[Big]
    source_ae: Mapped[str]
    source_address: Mapped[str]
    received_at: Mapped[Now]
    resolved_at: Mapped[dt.datetime | None]
    attributes: Mapped[Json]
    kept: Mapped[str] = mapped_column(server_default=text("'object'"))


class RemovedInstanceRow(Base):
    """An instance that was taken out of the archive, or is to be when it arrives: deleted, or rejected by a note.

    It is in no other table. One whose object is kept (`storage_key`) is only hidden.
    """

    __tablename__ = "removed_instance"
    __table_args__ = (
        CheckConstraint(
            "why IN ('deleted', 'gone', 'note', 'quality', 'safety', 'worklist', 'retention')",
            name="removed_instance_why_known",
        ),
        CheckConstraint("again IN ('accept', 'hide', 'refuse')", name="removed_instance_again_known"),
        CheckConstraint("(storage_key = '') = (sha256 = '')", name="removed_instance_kept"),
        CheckConstraint("kept IN ('object', 'reduced')", name="removed_instance_kept_known"),
        Index("removed_instance_study", "study_instance_uid"),
        Index("removed_instance_object", "storage_key", postgresql_where=text("storage_key <> ''")),
        Index("removed_instance_left", "removed_at", postgresql_where=text("objects_left <> '{}'")),
    )
    sop_instance_uid: Mapped[str] = mapped_column(primary_key=True)
    study_instance_uid: Mapped[str]
    why: Mapped[str]
    again: Mapped[str]
    """What is done when it is sent again: accept it as new, hide it, or refuse it."""
    for_good: Mapped[bool] = mapped_column(server_default=text("false"))
    """It is not to be shown again by an operator either."""
    note_uid: Mapped[str] = mapped_column(server_default=text("''"))
    """SOP Instance UID of the rejection note that says so."""
    reason: Mapped[str] = mapped_column(server_default=text("''"))
    removed_by: Mapped[str]
    removed_at: Mapped[Now]
    sop_class_uid: Mapped[str] = mapped_column(server_default=text("''"))
    transfer_syntax_uid: Mapped[str] = mapped_column(server_default=text("''"))
    storage_key: Mapped[str] = mapped_column(server_default=text("''"))
    """Of the object that is kept; empty: none is."""
    kept: Mapped[str] = mapped_column(server_default=text("'object'"))
    """What that is: the object as received, or a reduced copy of it. `sha256` is of the object as received."""
    content_sha256: Mapped[str | None]
    """As in `instance`."""
    sha256: Mapped[str] = mapped_column(server_default=text("''"))
    size_bytes: Mapped[Big] = mapped_column(server_default=text("0"))
    source_ae: Mapped[str] = mapped_column(server_default=text("''"))
    source_address: Mapped[str] = mapped_column(server_default=text("''"))
    called_ae: Mapped[str] = mapped_column(server_default=text("''"))
    objects_left: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    """Objects (storage keys) that are still to be removed from the disk."""


class AnatomyRow(Base):
    """The code table of anatomies; filled by the migration from `regionmir.core.anatomy`."""

    __tablename__ = "anatomy"
    __table_args__ = (UniqueConstraint("name", name="anatomy_name"), UniqueConstraint("short", name="anatomy_short"))
    pk: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    name: Mapped[str]
    short: Mapped[str]
    laterality: Mapped[str]
    code_value: Mapped[str]
    coding_scheme: Mapped[str]
    code_meaning: Mapped[str]
    ae_title: Mapped[str]
    gold: Mapped[bool]


class ModelRow(Base):
    """One generation: a network with its weights and preprocessing. At most one is active.

    `candidate`: does not answer yet. `previous`: answered before the active one, and takes over again by a rollback.
    `retired`: its embeddings are dropped. All but the retired are kept up to date.
    """

    __tablename__ = "model"
    __table_args__ = (
        UniqueConstraint("weights_sha256", "preprocessing_hash", name="model_identity"),
        CheckConstraint("status IN ('candidate', 'active', 'previous', 'retired')", name="model_status_known"),
        CheckConstraint("dim BETWEEN 1 AND 4000", name="model_dim"),
        Index("model_one_active", "status", unique=True, postgresql_where=text("status = 'active'")),
        Index("model_one_previous", "status", unique=True, postgresql_where=text("status = 'previous'")),
    )
    pk: Mapped[int] = mapped_column(Integer, Identity(always=False), primary_key=True)
    name: Mapped[str]
    version: Mapped[str]
    weights_sha256: Mapped[str]
    preprocessing_hash: Mapped[str]
    dim: Mapped[int]
    anatomy_pks: Mapped[list[int]] = mapped_column(ARRAY(SmallInteger))
    status: Mapped[str]
    registered_at: Mapped[Now]
    folder: Mapped[str] = mapped_column(server_default=text("''"))
    """Where the index workers find the model: a path, or the name of a shipped one; empty: in their settings."""


class AnalysisRow(Base):
    """What one generation said of one instance, or has still to say (`waiting`, `indexing`); newest arrivals first.

    No row: it has not heard of the instance. `received_at` is the instance's.
    """

    __tablename__ = "analysis"
    __table_args__ = (
        CheckConstraint(
            "state IN ('waiting', 'indexing', 'indexed', 'unsupported', 'failed')", name="analysis_state_known"
        ),
        Index("analysis_instance", "instance_pk"),
        Index(
            "analysis_waiting",
            "model_pk",
            "received_at",
            "instance_pk",
            postgresql_where=text("state IN ('waiting', 'indexing')"),
        ),
        Index("analysis_ended", "model_pk", "ended_at", postgresql_where=text("ended_at IS NOT NULL")),
        Index(
            "analysis_hopeless",
            "model_pk",
            postgresql_where=text("attempts >= 5 AND state IN ('waiting', 'indexing')"),
        ),
    )
    model_pk: Mapped[int] = mapped_column(ForeignKey("model.pk"), primary_key=True)
    instance_pk: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("instance.pk", ondelete="CASCADE"), primary_key=True
    )
    state: Mapped[str]
    reason: Mapped[str] = mapped_column(server_default=text("''"))
    received_at: Mapped[dt.datetime]
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    lease_until: Mapped[dt.datetime | None]
    ended_at: Mapped[dt.datetime | None]


class RegionRow(Base):
    """One anatomy that one model found in one instance; the box is in stored pixels, half-open."""

    __tablename__ = "region"
    __table_args__ = (
        UniqueConstraint("instance_pk", "model_pk", "anatomy_pk", name="region_identity"),
        Index("region_by_anatomy", "model_pk", "anatomy_pk"),
    )
    pk: Mapped[Pk]
    instance_pk: Mapped[Big] = mapped_column(ForeignKey("instance.pk"))
    model_pk: Mapped[int] = mapped_column(ForeignKey("model.pk"))
    anatomy_pk: Mapped[Small] = mapped_column(ForeignKey("anatomy.pk"))
    x0: Mapped[float]
    y0: Mapped[float]
    x1: Mapped[float]
    y1: Mapped[float]
    score: Mapped[float]


class EmbeddingRow(Base):
    """The unit vector of one region with what searches filter by; partitioned by model, then by anatomy.

    Leaves are made by `db.generations`: each checks the width of `v` and carries its own indexes.
    """

    __tablename__ = "embedding"
    __table_args__ = (
        Index("embedding_instance", "instance_pk"),
        Index("embedding_patient", "patient_pk"),
        Index("embedding_study", "study_pk"),
        Index("embedding_date", "study_date"),
        Index("embedding_age", "age_years", "sex"),
        Index("embedding_view", "view"),
        {"postgresql_partition_by": "LIST (model_pk)"},
    )
    model_pk: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    anatomy_pk: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    region_pk: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    instance_pk: Mapped[Big]
    study_pk: Mapped[Big]
    patient_pk: Mapped[Big]
    study_date: Mapped[dt.date | None]
    sex: Mapped[str]
    age_years: Mapped[float | None]
    view: Mapped[str]
    pixel_sha256: Mapped[str]
    v: Mapped[Any] = mapped_column(HALFVEC)


class PseudonymRow(Base):
    """The pseudonym of one real patient, study, series or instance; unique both ways; never deleted."""

    __tablename__ = "pseudonym"
    __table_args__ = (UniqueConstraint("kind", "pseudonym", name="pseudonym_reverse"),)
    kind: Mapped[str] = mapped_column(primary_key=True)
    original: Mapped[str] = mapped_column(primary_key=True)
    """A UID, or `patient.key`."""
    pseudonym: Mapped[str]
    key_version: Mapped[int]
    created_at: Mapped[Now]


class PeerRow(Base):
    """A registered AE: where it is, where it may call from, what it may do and see."""

    __tablename__ = "peer"
    __table_args__ = (
        CheckConstraint("disclosure IN ('identified', 'pseudonymous')", name="peer_disclosure_known"),
        CheckConstraint("port IS NULL OR port BETWEEN 1 AND 65535", name="peer_port"),
        CheckConstraint("max_associations BETWEEN 1 AND 64", name="peer_max_associations"),
        CheckConstraint("storage IN ('keep', 'reduced', 'regions')", name="peer_storage_known"),
        CheckConstraint("keep_days >= 0", name="peer_keep_days"),
    )
    ae_title: Mapped[str] = mapped_column(primary_key=True)
    host: Mapped[str]
    """Empty: it only calls us and is no destination."""
    port: Mapped[int | None]
    source_address: Mapped[str]
    """Address or network (CIDR) it calls from; empty: any."""
    can_echo: Mapped[bool]
    can_store: Mapped[bool]
    can_find: Mapped[bool]
    can_retrieve: Mapped[bool]
    can_correct: Mapped[bool]
    can_identify: Mapped[bool]
    disclosure: Mapped[str]
    accepts_pseudonyms: Mapped[bool]
    results_to: Mapped[str]
    """AE title that results of its queries are sent to; empty: nowhere."""
    last_from: Mapped[list[str]] = mapped_column(ARRAY(Text))
    """AE titles whose newest study `LAST` may mean, beside its own."""
    explain_row: Mapped[bool]
    max_associations: Mapped[int] = mapped_column(server_default=text("1"))
    """Associations that we hold open to it at once to deliver results."""
    commits_storage: Mapped[bool] = mapped_column(server_default=text("false"))
    """It answers storage commitment: we ask for it after every delivery."""
    quiet_s: Mapped[float | None]
    """Seconds without a new instance after which a study of its is complete; null: the setting `quiet_s`."""
    complete_on_release: Mapped[bool] = mapped_column(server_default=text("false"))
    """It sends a study over one association: when that is released, the study is complete."""
    results: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{sr}'"))
    """Kinds of results that it is sent as a destination."""
    can_get: Mapped[bool] = mapped_column(server_default=text("true"))
    """False takes C-GET from the right to retrieve."""
    can_move: Mapped[bool] = mapped_column(server_default=text("true"))
    """False takes C-MOVE from the right to retrieve."""
    can_commit: Mapped[bool] = mapped_column(server_default=text("true"))
    """False takes storage commitment from the right to store."""
    tls: Mapped[bool] = mapped_column(server_default=text("false"))
    """We call it over TLS."""
    certificate: Mapped[str] = mapped_column(server_default=text("''"))
    """Fingerprint or subject of the certificate that it shows, when it calls and when it is called; empty: any."""
    storage: Mapped[str | None]
    """What is kept of what it sends (`StoragePolicy`); null: as the settings say."""
    keep_days: Mapped[int | None]
    """Days after which objects that it sent are removed, 0: never; null: as the settings say."""
    created_at: Mapped[Now]
    changed_at: Mapped[Now]


class ResultSetRow(Base):
    """One answered similarity query, named by an opaque code that may appear outside."""

    __tablename__ = "result_set"
    __table_args__ = (
        Index("result_set_anchor", "anchor_instance_pk"),
        Index("result_set_age", "created_at"),
        Index(
            "result_set_hit",
            literal_column("jsonb_path_query_array(hits, '$[*].instance_pk')").label("instance_pks"),
            postgresql_using="gin",
            postgresql_ops={"instance_pks": "jsonb_path_ops"},
        ),
    )
    code: Mapped[str] = mapped_column(primary_key=True)
    model_pk: Mapped[int] = mapped_column(ForeignKey("model.pk"))
    anatomy_pk: Mapped[Small] = mapped_column(ForeignKey("anatomy.pk"))
    anchor_instance_pk: Mapped[Big] = mapped_column(ForeignKey("instance.pk"))
    k: Mapped[int]
    caller_ae: Mapped[str]
    disclosure: Mapped[str]
    created_at: Mapped[Now]
    hits: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    asked: Mapped[Json]
    """What was asked beside the anchor: several anatomies, how they combine, a drawn box."""


class DrawnBoxRow(Base):
    """A box that somebody drew, to be embedded on demand as one anatomy; in stored pixels, half-open."""

    __tablename__ = "drawn_box"
    __table_args__ = (
        UniqueConstraint("instance_pk", "model_pk", "anatomy_pk", "x0", "y0", "x1", "y1", name="drawn_box_identity"),
        CheckConstraint("state IN ('waiting', 'embedding', 'embedded', 'failed')", name="drawn_box_state_known"),
        CheckConstraint("(state = 'embedded') = (v IS NOT NULL)", name="drawn_box_answer"),
        Index("drawn_box_waiting", "asked_at", postgresql_where=text("state IN ('waiting', 'embedding')")),
    )
    pk: Mapped[Pk]
    instance_pk: Mapped[Big] = mapped_column(ForeignKey("instance.pk"))
    model_pk: Mapped[int] = mapped_column(ForeignKey("model.pk"))
    anatomy_pk: Mapped[Small] = mapped_column(ForeignKey("anatomy.pk"))
    x0: Mapped[float]
    y0: Mapped[float]
    x1: Mapped[float]
    y1: Mapped[float]
    state: Mapped[str]
    reason: Mapped[str]
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    lease_until: Mapped[dt.datetime | None]
    asked_at: Mapped[Now]
    v: Mapped[Any | None] = mapped_column(HALFVEC)


class WantedAnswerRow(Base):
    """An answer that is wanted later, for a film sent to `RGN_*` (way A) or an annotation that arrived (way C).

    `instance_pk` is what was sent, `anchor_instance_pk` the film to start from: known at once, or when an annotation
    has been read. No `anatomy_pks`: all regions found in the anchor.
    """

    __tablename__ = "wanted_answer"
    __table_args__ = (
        CheckConstraint("way IN ('A', 'C')", name="wanted_answer_way_known"),
        CheckConstraint("state IN ('unread', 'waiting', 'answered', 'refused')", name="wanted_answer_state_known"),
        Index(
            "wanted_answer_once",
            "instance_pk",
            "caller_ae",
            "anatomy_pks",
            "box",
            unique=True,
            postgresql_where=text("state IN ('unread', 'waiting')"),
            postgresql_nulls_not_distinct=True,
        ),
        Index("wanted_answer_waiting", "asked_at", postgresql_where=text("state = 'waiting'")),
        Index("wanted_answer_instance", "instance_pk"),
        Index("wanted_answer_anchor", "anchor_instance_pk"),
        Index("wanted_answer_result", "result_set_code"),
    )
    pk: Mapped[Pk]
    way: Mapped[str]
    instance_pk: Mapped[Big] = mapped_column(ForeignKey("instance.pk"))
    anchor_instance_pk: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("instance.pk"))
    anatomy_pks: Mapped[list[int]] = mapped_column(ARRAY(SmallInteger))
    box: Mapped[list[float] | None] = mapped_column(ARRAY(Float))
    caller_ae: Mapped[str]
    address: Mapped[str]
    disclosure: Mapped[str]
    destination: Mapped[str]
    state: Mapped[str]
    reason: Mapped[str]
    result_set_code: Mapped[str | None] = mapped_column(ForeignKey("result_set.code"))
    asked_at: Mapped[Now]
    answered_at: Mapped[dt.datetime | None]


class DeliveryRow(Base):
    """The outbox: one result on its way to one destination."""

    __tablename__ = "delivery"
    __table_args__ = (
        UniqueConstraint("sop_instance_uid", "destination", "model_pk", "kind", name="delivery_once"),
        CheckConstraint("state IN ('waiting', 'sending', 'delivered', 'dead', 'dropped')", name="delivery_state_known"),
        CheckConstraint("commitment IN ('', 'requested', 'committed', 'refused')", name="delivery_commitment_known"),
        CheckConstraint("disclosure IN ('identified', 'pseudonymous')", name="delivery_disclosure_known"),
        CheckConstraint(
            "(state = 'sending') = (lease_owner IS NOT NULL AND lease_until IS NOT NULL)", name="delivery_lease"
        ),
        Index("delivery_due", "next_try_at", postgresql_where=text("state = 'waiting'")),
        Index("delivery_sending", "destination", "lease_until", postgresql_where=text("state = 'sending'")),
        Index("delivery_state", "state"),
        Index("delivery_study", "study_pk"),
        Index("delivery_instance", "instance_pk"),
        Index("delivery_transaction", "transaction_uid", postgresql_where=text("transaction_uid IS NOT NULL")),
    )
    pk: Mapped[Pk]
    sop_instance_uid: Mapped[str]
    sop_class_uid: Mapped[str] = mapped_column(server_default=text("''"))
    """Of the object that was sent; empty until then."""
    destination: Mapped[str]
    model_pk: Mapped[int] = mapped_column(ForeignKey("model.pk"))
    kind: Mapped[str]
    study_pk: Mapped[Big] = mapped_column(ForeignKey("study.pk"))
    instance_pk: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("instance.pk"))
    """The film that it is about."""
    disclosure: Mapped[str] = mapped_column(server_default=text("'pseudonymous'"))
    """Whose identity it bears: the original patient's or the pseudonym's."""
    result_set_codes: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    """The answers that it tells of."""
    state: Mapped[str]
    reason: Mapped[str]
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    next_try_at: Mapped[Now]
    created_at: Mapped[Now]
    delivered_at: Mapped[dt.datetime | None]
    lease_owner: Mapped[str | None]
    lease_until: Mapped[dt.datetime | None]
    commitment: Mapped[str] = mapped_column(server_default=text("''"))
    transaction_uid: Mapped[str | None]
    """Of the storage commitment that we asked for (PS3.4 J.3.2)."""
    requested_at: Mapped[dt.datetime | None]


class PacsRow(Base):
    """A PACS whose studies are imported and followed."""

    __tablename__ = "pacs"
    __table_args__ = (CheckConstraint("kind IN ('orthanc', 'dicom')", name="pacs_kind_known"),)
    name: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    url: Mapped[str]
    """Of Orthanc's REST API, without credentials; empty for a plain DICOM archive."""
    username: Mapped[str]
    password_file: Mapped[str]
    ae_title: Mapped[str]
    """The peer that it is for DICOM."""
    modalities: Mapped[list[str]] = mapped_column(ARRAY(Text))
    """Series of these are imported; empty: all."""
    viewer_url: Mapped[str]
    """Where people see a study: `{study_instance_uid}` and `{remote_id}` are filled in."""
    seq: Mapped[Big] = mapped_column(server_default=text("0"))
    """Number of the last change of Orthanc's log that was seen."""
    uncounted: Mapped[Big] = mapped_column(server_default=text("0"))
    """How many studies it counted, at the last comparison, beyond those that we know."""
    followed_at: Mapped[dt.datetime | None]
    compared_at: Mapped[dt.datetime | None]
    stopped: Mapped[str] = mapped_column(server_default=text("''"))
    """Why nothing is hidden any more until an operator says so: too many studies have disappeared at once."""
    created_at: Mapped[Now]


class PacsStudyRow(Base):
    """A study that a PACS has or had, and whether it is here."""

    __tablename__ = "pacs_study"
    __table_args__ = (
        CheckConstraint("state IN ('waiting', 'imported', 'failed', 'gone')", name="pacs_study_state_known"),
        Index("pacs_study_remote", "pacs", "remote_id"),
        Index("pacs_study_uid", "study_instance_uid"),
        Index("pacs_study_waiting", "pacs", "next_try_at", postgresql_where=text("state = 'waiting'")),
    )
    pacs: Mapped[str] = mapped_column(ForeignKey("pacs.name", ondelete="CASCADE"), primary_key=True)
    study_instance_uid: Mapped[str] = mapped_column(primary_key=True)
    remote_id: Mapped[str]
    """Orthanc's identifier of it; empty for a plain DICOM archive."""
    state: Mapped[str]
    reason: Mapped[str]
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    next_try_at: Mapped[Now]
    instances: Mapped[int] = mapped_column(server_default=text("0"))
    """How many instances were taken over."""
    found_at: Mapped[Now]
    changed_at: Mapped[Now]


class CommitmentRequestRow(Base):
    """A storage commitment that somebody asked us for, until it is reported (PS3.4 J.3)."""

    __tablename__ = "commitment_request"
    __table_args__ = (
        UniqueConstraint("transaction_uid", "ae_title", name="commitment_request_once"),
        CheckConstraint("state IN ('waiting', 'reported', 'dead')", name="commitment_request_state_known"),
        Index("commitment_request_due", "next_try_at", postgresql_where=text("state = 'waiting'")),
    )
    pk: Mapped[Pk]
    transaction_uid: Mapped[str]
    ae_title: Mapped[str]
    identified: Mapped[bool]
    """Whether the asker may know of instances that others sent."""
    references_wanted: Mapped[list[list[str]]] = mapped_column(JSONB)
    """SOP Class and Instance UID of each."""
    state: Mapped[str]
    reason: Mapped[str]
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    next_try_at: Mapped[Now]
    created_at: Mapped[Now]


class StudyReleaseRow(Base):
    """When an association that brought instances of a study was released by a peer that sends whole studies."""

    __tablename__ = "study_release"
    study_instance_uid: Mapped[str] = mapped_column(primary_key=True)
    released_at: Mapped[Now]


class StudyResultsRow(Base):
    """When results of a study were made last under one model."""

    __tablename__ = "study_results"
    study_pk: Mapped[int] = mapped_column(BigInteger, ForeignKey("study.pk"), primary_key=True)
    model_pk: Mapped[int] = mapped_column(ForeignKey("model.pk"), primary_key=True)
    made_at: Mapped[Now]


class ObjectRemovalRow(Base):
    """An object that no row speaks of any more, until its file is removed (`db.removals`)."""

    __tablename__ = "object_removal"
    storage_key: Mapped[str] = mapped_column(primary_key=True)
    asked_at: Mapped[Now]


class QueryLogRow(Base):
    """One query that was asked, with how it went; holds no identities of patients."""

    __tablename__ = "query_log"
    __table_args__ = (Index("query_log_time", "asked_at"), Index("query_log_caller", "caller_ae", "asked_at"))
    pk: Mapped[Pk]
    asked_at: Mapped[Now]
    caller_ae: Mapped[str]
    address: Mapped[str]
    kind: Mapped[str]
    """`similar` or `find`."""
    outcome: Mapped[str]
    """`ok`, or the code of the refusal."""
    anatomy_pk: Mapped[int | None] = mapped_column(SmallInteger)
    anchor_instance_pk: Mapped[int | None] = mapped_column(BigInteger)
    result_set_code: Mapped[str | None]
    hits: Mapped[int]
    duration_ms: Mapped[float]


class WebUserRow(Base):
    """A user of the web process: with a password of ours, or one for whom a provider or a proxy vouches."""

    __tablename__ = "web_user"
    __table_args__ = (
        UniqueConstraint("way", "subject", name="web_user_identity"),
        CheckConstraint("way IN ('local', 'oidc', 'proxy')", name="web_user_way_known"),
        CheckConstraint("role IN ('viewer', 'reader', 'admin')", name="web_user_role_known"),
        CheckConstraint("(way = 'local') = (password_hash IS NOT NULL)", name="web_user_password"),
        Index("web_user_name", "name"),
    )
    pk: Mapped[Pk]
    name: Mapped[str]
    """What people see; only of local users is it unique."""
    way: Mapped[str]
    subject: Mapped[str]
    """Who it is to the one who vouches: our own name, `issuer|sub`, or the name that the proxy gives."""
    role: Mapped[str]
    identified: Mapped[bool] = mapped_column(server_default=text("false"))
    disabled: Mapped[bool] = mapped_column(server_default=text("false"))
    password_hash: Mapped[str | None]
    """Argon2id, in the form that names its parameters."""
    created_at: Mapped[Now]
    signed_in_at: Mapped[dt.datetime | None]


class WebSessionRow(Base):
    """A user that is signed in. The browser holds the token, we only its hash."""

    __tablename__ = "web_session"
    __table_args__ = (Index("web_session_user", "user_pk"), Index("web_session_end", "ends_at"))
    token_sha256: Mapped[str] = mapped_column(primary_key=True)
    user_pk: Mapped[Big] = mapped_column(ForeignKey("web_user.pk", ondelete="CASCADE"))
    address: Mapped[str]
    started_at: Mapped[Now]
    seen_at: Mapped[Now]
    ends_at: Mapped[dt.datetime]


class SignInRequestRow(Base):
    """A browser that was sent to the OpenID provider and has not come back yet."""

    __tablename__ = "sign_in_request"
    __table_args__ = (Index("sign_in_request_end", "ends_at"),)
    token_sha256: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str]
    nonce: Mapped[str]
    code_verifier: Mapped[str]
    next_path: Mapped[str]
    ends_at: Mapped[dt.datetime]


class AuditEventRow(Base):
    """Something that must be answerable for later. The database refuses to change or delete rows."""

    __tablename__ = "audit_event"
    __table_args__ = (Index("audit_event_time", "at"), Index("audit_event_kind", "kind", "at"))
    pk: Mapped[Pk]
    at: Mapped[Now]
    kind: Mapped[str]
    actor: Mapped[str]
    address: Mapped[str]
    detail: Mapped[Json]
    message: Mapped[str] = mapped_column(server_default=text("''"))
    """DICOM audit message (PS3.15 A.5.1), XML; empty for what the standard has no message for."""


class AuditChainRow(Base):
    """The place of one audit event in the hash chain; the database adds it when the event is committed."""

    __tablename__ = "audit_chain"
    __table_args__ = (UniqueConstraint("event_pk", name="audit_chain_event"),)
    position: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    """1, 2, 3 ... without a gap."""
    event_pk: Mapped[Big]
    """`audit_event.pk`; no foreign key, so that a row that was taken away shows as a gap."""
    hash: Mapped[bytes] = mapped_column(LargeBinary)
    """SHA-256 over the hash before and this event."""


class AuditForwardingRow(Base):
    """How far the audit trail has been told to one syslog server."""

    __tablename__ = "audit_forwarding"
    destination: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[Big]
    sent_at: Mapped[Now]


class ApiTokenRow(Base):
    """A token of a program. Of the token itself only the SHA-256 is kept: it is random, and needs no slow hash."""

    __tablename__ = "api_token"
    __table_args__ = (
        UniqueConstraint("token_sha256", name="api_token_sha256"),
        CheckConstraint("disclosure IN ('identified', 'pseudonymous')", name="api_token_disclosure_known"),
        CheckConstraint("scopes <@ ARRAY['query', 'read', 'write', 'admin']", name="api_token_scopes_known"),
    )
    name: Mapped[str] = mapped_column(primary_key=True)
    token_sha256: Mapped[str]
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    disclosure: Mapped[str]
    created_at: Mapped[Now]
    expires_at: Mapped[dt.datetime]
    revoked_at: Mapped[dt.datetime | None]
    used_at: Mapped[dt.datetime | None]


class UploadedFilmRow(Base):
    """A film that a program uploaded to ask for similar ones: no part of the archive, and forgotten when it expires.

    Its object is a file of the folder of uploads, named by `code`, until it is indexed; its regions and embeddings are
    in `regions`.
    """

    __tablename__ = "uploaded_film"
    __table_args__ = (
        CheckConstraint(
            "state IN ('received', 'indexing', 'indexed', 'unsupported', 'failed')", name="uploaded_film_state_known"
        ),
        Index("uploaded_film_waiting", "created_at", postgresql_where=text("state IN ('received', 'indexing')")),
        Index("uploaded_film_age", "expires_at"),
    )
    code: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str]
    """Name of the caller: nobody else may use it."""
    sop_class_uid: Mapped[str]
    state: Mapped[str]
    reason: Mapped[str] = mapped_column(server_default=text("''"))
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    lease_until: Mapped[dt.datetime | None]
    created_at: Mapped[Now]
    expires_at: Mapped[dt.datetime]
    patient_pks: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
    """Patients of ours who may be the one of the film: their studies are no hits."""
    model_pk: Mapped[int | None] = mapped_column(ForeignKey("model.pk"))
    pixel_sha256: Mapped[str] = mapped_column(server_default=text("''"))
    view: Mapped[str] = mapped_column(server_default=text("''"))
    rows: Mapped[int | None]
    columns: Mapped[int | None]
    regions: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default=text("'[]'::jsonb"))


class RelevanceFeedbackRow(Base):
    """What one person says of one hit: whether it is relevant to the region (or the drawn `box`) that asked."""

    __tablename__ = "relevance_feedback"
    __table_args__ = (
        UniqueConstraint(
            "actor",
            "model_pk",
            "anatomy_pk",
            "query_instance_pk",
            "hit_instance_pk",
            "box",
            name="relevance_feedback_once",
            postgresql_nulls_not_distinct=True,
        ),
        CheckConstraint("query_instance_pk <> hit_instance_pk", name="relevance_feedback_of_two"),
        Index("relevance_feedback_query", "query_instance_pk"),
        Index("relevance_feedback_hit", "hit_instance_pk"),
    )
    pk: Mapped[Pk]
    actor: Mapped[str]
    model_pk: Mapped[int] = mapped_column(ForeignKey("model.pk"))
    anatomy_pk: Mapped[Small] = mapped_column(ForeignKey("anatomy.pk"))
    query_instance_pk: Mapped[Big] = mapped_column(ForeignKey("instance.pk"))
    hit_instance_pk: Mapped[Big] = mapped_column(ForeignKey("instance.pk"))
    box: Mapped[list[float] | None] = mapped_column(ARRAY(Float))
    relevant: Mapped[bool]
    given_at: Mapped[Now]


class FindingRow(Base):
    """One finding of one study, as one source (a report, a reader, a classifier) named it."""

    __tablename__ = "finding"
    __table_args__ = (
        CheckConstraint("confidence BETWEEN 0 AND 1", name="finding_confidence"),
        Index("finding_by_label", "label", "study_pk"),
    )
    study_pk: Mapped[int] = mapped_column(BigInteger, ForeignKey("study.pk"), primary_key=True)
    label: Mapped[str] = mapped_column(primary_key=True)
    source: Mapped[str] = mapped_column(primary_key=True, server_default=text("''"))
    confidence: Mapped[float | None]
    """How sure the source is, 0..1; null where it does not say."""
    imported_at: Mapped[Now]


class ExplanationRow(Base):
    """The similarity maps of a pair of regions, made on demand; boxes in stored pixels of each film, half-open."""

    __tablename__ = "explanation"
    __table_args__ = (
        UniqueConstraint(
            "model_pk",
            "anatomy_pk",
            "query_instance_pk",
            "hit_instance_pk",
            "query_box",
            "hit_box",
            name="explanation_identity",
        ),
        CheckConstraint("state IN ('waiting', 'making', 'made', 'failed')", name="explanation_state_known"),
        CheckConstraint("(state = 'made') = (maps IS NOT NULL)", name="explanation_answer"),
        Index("explanation_waiting", "asked_at", postgresql_where=text("state IN ('waiting', 'making')")),
        Index("explanation_query", "query_instance_pk"),
        Index("explanation_hit", "hit_instance_pk"),
    )
    pk: Mapped[Pk]
    model_pk: Mapped[int] = mapped_column(ForeignKey("model.pk"))
    anatomy_pk: Mapped[Small] = mapped_column(ForeignKey("anatomy.pk"))
    query_instance_pk: Mapped[Big] = mapped_column(ForeignKey("instance.pk"))
    hit_instance_pk: Mapped[Big] = mapped_column(ForeignKey("instance.pk"))
    query_box: Mapped[list[float]] = mapped_column(ARRAY(Float))
    hit_box: Mapped[list[float]] = mapped_column(ARRAY(Float))
    state: Mapped[str]
    reason: Mapped[str]
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    lease_until: Mapped[dt.datetime | None]
    asked_at: Mapped[Now]
    maps: Mapped[list[list[list[float]]] | None] = mapped_column(JSONB)
    """Of the query and of the hit: (P, P) each, rows from the top as viewed, -1..1."""
