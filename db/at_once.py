"""An instance of which nothing unusual is known, filed with its parents and pseudonyms by one statement.

It files what `db.ingest` would file step by step, and takes the same rows in the same order; whatever else there is to
decide (the instance is here or was removed, its patient was merged, its study is another patient's, one of its UIDs is
a pseudonym of ours) it leaves alone. A test files the same instances both ways and compares the rows.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import psycopg
from sqlalchemy import Table
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import JSONB

from db.engine import as_json
from db.tables import Base, InstanceRow, PatientRow, SeriesRow, StudyRow

_DIALECT: Final = postgresql.dialect()  # type: ignore[no-untyped-call]
_PATIENT = (
    "patient_id",
    "issuer",
    "anonymous_key",
    "date_shift_days",
    "name",
    "birth_date",
    "sex",
    "attributes",
)
_STUDY = (
    "study_instance_uid",
    "study_date",
    "study_time",
    "accession_number",
    "study_id",
    "study_description",
    "referring_physician",
    "attributes",
)
_SERIES = (
    "series_instance_uid",
    "modality",
    "series_number",
    "series_description",
    "body_part",
    "attributes",
)
_INSTANCE = (
    "sop_instance_uid",
    "sop_class_uid",
    "transfer_syntax_uid",
    "sha256",
    "storage_key",
    "size_bytes",
    "source_ae",
    "source_address",
    "called_ae",
    "instance_number",
    "view",
    "age_years",
    "rows",
    "columns",
    "attributes",
    "kept",
    "state",
    "reason",
)


class Rows(NamedTuple):
    """What is to be filed: the columns of each row but its parent's key, and pseudonyms by kind."""

    patient_key: str
    patient: Mapping[str, Any]
    study: Mapping[str, Any]
    series: Mapping[str, Any]
    instance: Mapping[str, Any]
    pseudonyms: Mapping[str, str]
    key_version: int


def file(connection: "psycopg.Connection", rows: Rows) -> bool:
    """File an instance if nothing unusual is known of it; False: what it did not do is to be done step by step."""
    values = {
        "patient_key": rows.patient_key,
        "key_version": rows.key_version,
        **_named("patient", rows.patient),
        **_named("study", rows.study),
        **_named("series", rows.series),
        **_named("instance", rows.instance),
        **{f"{kind}_pseudonym": pseudonym for kind, pseudonym in rows.pseudonyms.items()},
    }
    ordered = [as_json(values[name]) if name in _JSON else values[name] for name in _NAMES]
    found = psycopg.RawCursor(connection).execute(_NUMBERED, ordered, prepare=True).fetchone()
    assert found is not None
    return bool(found[0])


def _named(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{prefix}_{name}": value for name, value in values.items()}


def _table(row: type[Base]) -> Table:
    table = row.__table__
    assert isinstance(table, Table)
    return table


def _insert(row: type[Base], names: tuple[str, ...], parent: str, source: str) -> str:
    """Return an INSERT of these columns, and of its parent's key where it has one, for each row of `source`."""
    table, prefix = _table(row), row.__tablename__
    columns = ", ".join([*([f"{parent}_pk"] if parent else []), *(f'"{name}"' for name in names)])
    values = [f"CAST(%({prefix}_{name})s AS {table.c[name].type.compile(_DIALECT)})" for name in names]
    chosen = ", ".join([*(["pk"] if parent else []), *values])
    return f"INSERT INTO {prefix} ({columns}) SELECT {chosen} FROM {source} ON CONFLICT DO NOTHING RETURNING pk"  # noqa: S608


_STATEMENT: Final = f"""
WITH usual AS (
    SELECT 1 WHERE NOT EXISTS (SELECT FROM instance WHERE sop_instance_uid = %(instance_sop_instance_uid)s)
    AND NOT EXISTS (SELECT FROM removed_instance WHERE sop_instance_uid = %(instance_sop_instance_uid)s)
    AND NOT EXISTS (SELECT FROM delivery WHERE sop_instance_uid = %(instance_sop_instance_uid)s)
    AND NOT EXISTS (SELECT FROM pseudonym WHERE kind IN ('study', 'series', 'instance') AND pseudonym IN
        (%(study_study_instance_uid)s, %(series_series_instance_uid)s, %(instance_sop_instance_uid)s))
    AND NOT EXISTS (SELECT FROM pseudonym WHERE kind = 'patient' AND pseudonym = %(patient_pseudonym)s
        AND original <> %(patient_key)s)
    AND NOT EXISTS (SELECT FROM merged_patient WHERE key = %(patient_key)s)
    AND NOT EXISTS (SELECT FROM study s JOIN patient p ON p.pk = s.patient_pk
        WHERE s.study_instance_uid = %(study_study_instance_uid)s AND p.key <> %(patient_key)s)
    AND NOT EXISTS (SELECT FROM series e JOIN study s ON s.pk = e.study_pk
        WHERE e.series_instance_uid = %(series_series_instance_uid)s
        AND s.study_instance_uid <> %(study_study_instance_uid)s)
), known_study AS (
    SELECT s.pk FROM usual, study s JOIN patient p ON p.pk = s.patient_pk
    WHERE s.study_instance_uid = %(study_study_instance_uid)s AND p.key = %(patient_key)s FOR SHARE OF s
), known_patient AS (
    SELECT p.pk FROM usual, patient p
    WHERE p.key = %(patient_key)s AND NOT EXISTS (SELECT FROM known_study) FOR KEY SHARE OF p
), new_patient AS (
    {
    _insert(
        PatientRow, _PATIENT, "", "usual WHERE NOT EXISTS (SELECT FROM known_study UNION ALL SELECT FROM known_patient)"
    )
}
), its_patient AS (
    SELECT pk FROM known_patient UNION ALL SELECT pk FROM new_patient
), new_study AS (
    {_insert(StudyRow, _STUDY, "patient", "its_patient")}
), its_study AS (
    SELECT pk FROM known_study UNION ALL SELECT pk FROM new_study
), known_series AS (
    SELECT e.pk FROM its_study s JOIN series e ON e.study_pk = s.pk
    WHERE e.series_instance_uid = %(series_series_instance_uid)s FOR KEY SHARE OF e
), new_series AS (
    {_insert(SeriesRow, _SERIES, "study", "its_study WHERE NOT EXISTS (SELECT FROM known_series)")}
), its_series AS (
    SELECT pk FROM known_series UNION ALL SELECT pk FROM new_series
), new_instance AS (
    {_insert(InstanceRow, _INSTANCE, "series", "its_series")}
), named AS (
    INSERT INTO pseudonym (kind, original, pseudonym, key_version)
    SELECT kind, original, pseudonym, CAST(%(key_version)s AS integer) FROM (
        SELECT 'patient', %(patient_key)s, %(patient_pseudonym)s FROM new_patient
        UNION ALL SELECT 'study', %(study_study_instance_uid)s, %(study_pseudonym)s FROM new_study
        UNION ALL SELECT 'series', %(series_series_instance_uid)s, %(series_pseudonym)s FROM new_series
        UNION ALL SELECT 'instance', %(instance_sop_instance_uid)s, %(instance_pseudonym)s FROM new_instance
    ) AS made (kind, original, pseudonym)
    ON CONFLICT (kind, original) DO NOTHING
)
SELECT EXISTS (SELECT FROM new_instance)
"""  # noqa: S608 - names of our own

_JSON: Final = frozenset(
    f"{row.__tablename__}_{column.name}"
    for row in (PatientRow, StudyRow, SeriesRow, InstanceRow)
    for column in _table(row).c
    if isinstance(column.type, JSONB)
)
_NAMES: Final = tuple(dict.fromkeys(re.findall(r"%\((\w+)\)s", _STATEMENT)))
_NUMBERED: Final = re.sub(r"%\((\w+)\)s", lambda found: f"${_NAMES.index(found[1]) + 1}", _STATEMENT).encode()
"""With PostgreSQL's own placeholders: the driver need not look for its own each time."""
