"""The schema: made once whoever asks, equal to the classes, refused where the server is too old."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

from db import analyses, generations, migrate
from db.engine import Database
from db.tables import Base
from regionmir.core.anatomy import anatomies
from regionmir.core.errors import ConfigurationError, DatabaseUnavailable
from tests.support.postgres import TestDatabases
from tests.support.records import generation, header, receive


def test_processes_that_migrate_at_once_make_one_schema(databases: TestDatabases) -> None:
    url = databases.empty()
    found = [Database(url, application_name=f"{n}") for n in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(migrate.upgrade, found))
    assert migrate.current(found[0]) == migrate.head()
    for database in found:
        database.close()
    databases.drop(url)


def test_the_migrations_make_what_the_classes_say(database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, Base.metadata) == []


def test_the_code_table_holds_all_anatomies(database: Database) -> None:
    with database.session() as session:
        found = session.execute(text("SELECT pk, short, code_value FROM anatomy ORDER BY pk")).all()
    assert [tuple(row) for row in found] == [(a.key, a.short, a.code_value) for a in anatomies()]


def test_migrating_again_changes_nothing(database: Database) -> None:
    receive(database, header())
    migrate.upgrade(database)
    migrate.wait_current(database, 1)


def test_a_schema_of_a_newer_version_is_refused(database: Database) -> None:
    with database.session() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigurationError, match="newer RegionMIR"):
        migrate.upgrade(database)
    with pytest.raises(ConfigurationError, match="newer RegionMIR"):
        migrate.wait_current(database, 1)


def test_waiting_for_a_schema_that_never_comes_ends(databases: TestDatabases) -> None:
    url = databases.empty()
    database = Database(url, application_name="test")
    with pytest.raises(DatabaseUnavailable, match="db upgrade"):
        migrate.wait_current(database, 0.3)
    database.close()
    databases.drop(url)


@pytest.mark.parametrize("version", ["0.7.4", "0.8.3", "0.8"])
def test_an_old_pgvector_is_refused_with_what_to_do(version: str) -> None:
    with pytest.raises(ConfigurationError, match=r"pgvector 0\.8\.4 or newer.*ALTER EXTENSION"):
        migrate.refuse_old_pgvector(version)


@pytest.mark.parametrize("version", ["0.8.4", "0.8.6", "0.10.0", "1.0"])
def test_a_new_pgvector_will_do(version: str) -> None:
    migrate.refuse_old_pgvector(version)


def test_the_audit_trail_can_not_be_changed(database: Database) -> None:
    from sqlalchemy.exc import IntegrityError

    from db import audit

    with database.session() as session:
        audit.record(session, "test", actor="A", address="", detail={"name": "a\0b"})
    for statement in ("UPDATE audit_event SET kind = 'x'", "DELETE FROM audit_event", "TRUNCATE audit_event"):
        with pytest.raises(IntegrityError, match="append-only"), database.session() as session:
            session.execute(text(statement))
    with database.session() as session:
        assert [event.detail for event in audit.listing(session, kinds=["test"])] == [{"name": "ab"}]


def test_the_statistics_can_be_read(database: Database) -> None:
    receive(database, header())
    with database.session() as session:
        generations.ensure_model(session, generation())
        views = session.scalars(
            text("SELECT table_name FROM information_schema.views WHERE table_schema = 'analytics'")
        ).all()
        assert len(views) >= 4
        for view in views:
            session.execute(text(f"SELECT * FROM analytics.{view}")).all()
            assert session.scalar(text(f"SELECT obj_description('analytics.{view}'::regclass)"))
        assert session.execute(text("SELECT state, instances FROM analytics.instances_by_state")).all() == [
            ("received", 1)
        ]
        assert session.scalar(text("SELECT count(*) FROM analytics.coverage_by_anatomy")) == 5


def test_generations_of_an_older_schema_are_kept_with_what_they_said(databases: TestDatabases) -> None:
    url = databases.empty()
    database = Database(url, application_name="test")
    with database.engine.begin() as connection:
        connection.execute(text("CREATE EXTENSION IF NOT EXISTS vector"))
        command.upgrade(migrate._config(connection), "0010")
        for statement in OLD_ROWS:
            connection.execute(text(statement))
    migrate.upgrade(database)
    with database.session() as session:
        said = session.execute(text("SELECT model_pk, instance_pk, state, reason FROM analysis ORDER BY 1, 2")).all()
        statuses = session.scalars(text("SELECT status FROM model ORDER BY pk")).all()
        assert [one.status for one in generations.kept_up(session)] == ["active", "candidate"]
        assert analyses.pending(session, 1) == 2
    database.close()
    databases.drop(url)
    chest = "not a frontal chest radiograph"
    assert [tuple(row) for row in said] == [(2, 1, "indexed", ""), (2, 2, "unsupported", chest)]
    assert statuses == ["candidate", "active"]


OLD_ROWS = (
    "INSERT INTO patient (pk, patient_id, issuer, anonymous_key, name, sex, date_shift_days) "
    "VALUES (1, 'P', '', '', '', '', -1)",
    "INSERT INTO study (pk, patient_pk, study_instance_uid, study_time, accession_number, study_id, study_description, "
    "referring_physician) VALUES (1, 1, '1.2', '', '', '', '', '')",
    "INSERT INTO series (pk, study_pk, series_instance_uid, modality, series_description, body_part) "
    "VALUES (1, 1, '1.2.1', 'CR', '', '')",
    *(
        "INSERT INTO instance (pk, series_pk, sop_instance_uid, sop_class_uid, transfer_syntax_uid, state, reason, "
        "sha256, storage_key, size_bytes, source_ae, source_address, called_ae, view) "
        f"VALUES ({pk}, 1, '1.2.1.{pk}', '', '', '{state}', '{reason}', '', '', 0, '', '', '', '')"
        for pk, state, reason in (
            (1, "indexed", ""),
            (2, "unsupported", "not a frontal chest radiograph"),
            (3, "unsupported", "lateral view"),
            (4, "received", ""),
        )
    ),
    *(
        "INSERT INTO model (pk, name, version, weights_sha256, preprocessing_hash, dim, anatomy_pks, status) "
        f"VALUES ({pk}, 'm', '{pk}', '{pk}', '', 4, '{{1}}', '{status}')"
        for pk, status in ((1, "retired"), (2, "active"))
    ),
    "INSERT INTO region (instance_pk, model_pk, anatomy_pk, x0, y0, x1, y1, score) VALUES (1, 2, 1, 0, 0, 1, 1, 1)",
)
"""Two generations, the newer in use, and what it made of four instances, as schema 0010 holds them."""
