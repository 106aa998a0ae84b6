"""Roles of PostgreSQL for the processes, with no more rights than each needs; as statements, and applied.

Who migrates the schema owns it and runs this again after each migration. Nobody but the owner may change or delete
what was audited, and even for the owner the triggers forbid it.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from db.engine import Database, mapped_errors
from regionmir.core.errors import ConfigurationError

NODE: Final = "regionmir_node"
WORKER: Final = "regionmir_worker"
WEB: Final = "regionmir_web"
ANALYST: Final = "regionmir_analyst"

_FILING = ("patient", "study", "series", "instance", "instance_version", "pseudonym", "removed_instance")
_ASKING = ("query_log", "result_set", "drawn_box", "wanted_answer")
_RESULTS = ("delivery", "commitment_request", "study_release", "study_results")
_REMOVING = ("object_removal",)
_WORK = (
    "model",
    "analysis",
    "region",
    "pacs",
    "pacs_study",
    "audit_forwarding",
    "explanation",
    "uploaded_film",
    "rendition",
)
_SIGNING_IN = ("web_user", "web_session", "sign_in_request", "api_token")
_PAGES = ("relevance_feedback", "explanation", "uploaded_film", "delivery", "model", "analysis", "rendition")
_TAKING_OUT = (
    *("removed_instance", "region", "analysis", "embedding", "finding", "explanation", "relevance_feedback"),
    *("drawn_box", "wanted_answer", "result_set", "delivery", "study_release", "study_results"),
)
"""What was made of an instance that is taken out of the archive: a rejection note, the API or a PACS says so. Rows of
the archive itself go by the functions `_FUNCTIONS` alone."""

_FUNCTIONS = "forget_removed(TEXT[]), forget_empty(BIGINT[], BIGINT[])"

WRITES: Final[Mapping[str, Mapping[str, Sequence[str]]]] = {
    NODE: {
        "INSERT, UPDATE": (*_FILING, *_ASKING, *_RESULTS, *_REMOVING),
        "DELETE": _TAKING_OUT,
    },
    WORKER: {
        "INSERT, UPDATE": (*_FILING, *_ASKING, *_RESULTS, *_WORK, *_REMOVING),
        "DELETE": (*_TAKING_OUT, "pacs_study", "uploaded_film", "object_removal", "query_log"),
    },
    WEB: {
        "INSERT, UPDATE": (*_FILING, *_ASKING, *_SIGNING_IN, *_PAGES, *_REMOVING),
        "DELETE": (*_TAKING_OUT, "uploaded_film", "web_session", "sign_in_request"),
    },
}
"""What each process writes, beside audit events; each reads all tables. `embedding` belongs to the workers, who make
its partitions and indexes."""

_AUDIT_COLUMNS = "kind, actor, address, detail, message"
"""What those who record give; number, time and place in the chain are the database's."""

_FILTERS = "study_pk, patient_pk, sex, study_date"
"""Columns of `embedding` that follow a corrected patient or study."""


def statements() -> list[str]:
    """Return the statements, to be run by a superuser (or the owner, if it may make roles); running again is safe."""
    made = [_create(role) for role in (NODE, WORKER, WEB, ANALYST)]
    made += [f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM PUBLIC, {NODE}, {WORKER}, {WEB}, {ANALYST}"]
    for role in (NODE, WORKER, WEB):
        made += [
            f"GRANT USAGE ON SCHEMA public TO {role}",
            f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}",
            f"GRANT INSERT ({_AUDIT_COLUMNS}) ON audit_event TO {role}",
            f"GRANT EXECUTE ON FUNCTION {_FUNCTIONS} TO {role}",
            *(f"GRANT {what} ON {', '.join(tables)} TO {role}" for what, tables in WRITES[role].items()),
        ]
    return [*made, *_worker_owns_embeddings(), *_analyst()]


def script() -> str:
    """Return the statements as a file for psql."""
    return "".join(f"{statement};\n" for statement in statements())


def apply(database: Database) -> None:
    """Make the roles and grants. Raises `ConfigurationError` where the connection may not."""
    try:
        with mapped_errors(), database.engine.begin() as connection:
            for statement in statements():
                connection.execute(text(statement.replace(":", r"\:")))
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", "") != "42501":  # insufficient privilege
            raise
        raise ConfigurationError(
            "this database role may not make roles: have a superuser run what `regionmir db roles` prints"
        ) from None


def _create(role: str) -> str:
    return (
        f"DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') "
        f"THEN CREATE ROLE {role} LOGIN; END IF; END $$"
    )


def _worker_owns_embeddings() -> list[str]:
    """Return what lets the workers make partitions and indexes of `embedding`, and the owner of the schema still."""
    return [
        f"GRANT CREATE ON SCHEMA public TO {WORKER}",
        "DO $$ DECLARE owner NAME; BEGIN "  # noqa: S608 - names of our own
        "SELECT pg_get_userbyid(relowner) INTO owner FROM pg_class WHERE oid = 'instance'::regclass; "
        f"IF NOT pg_has_role(owner, '{WORKER}', 'MEMBER') "
        f"THEN EXECUTE format('GRANT {WORKER} TO %I', owner); END IF; END $$",
        "DO $$ DECLARE part REGCLASS; BEGIN "  # noqa: S608 - names of our own
        "FOR part IN SELECT relid FROM pg_partition_tree('embedding') LOOP "
        f"EXECUTE format('ALTER TABLE %s OWNER TO {WORKER}', part); "
        f"EXECUTE format('GRANT ALL ON %s TO {WORKER}', part); END LOOP; END $$",
        f"GRANT SELECT, DELETE, UPDATE ({_FILTERS}) ON embedding TO {NODE}, {WEB}",
    ]


def _analyst() -> list[str]:
    """Return what lets analysts read the statistics, which hold nothing of patients, and nothing else."""
    return [
        f"GRANT USAGE ON SCHEMA analytics TO {ANALYST}",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA analytics TO {ANALYST}",
        f"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA analytics TO {ANALYST}",
        f"ALTER ROLE {ANALYST} SET default_transaction_read_only = on",
        f"ALTER ROLE {ANALYST} SET statement_timeout = '10min'",
    ]
