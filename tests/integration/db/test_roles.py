"""The roles of the processes: each does its own work, none changes the trail, the analyst sees no patient."""

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import ProgrammingError

from db import audit, audit_chain, generations, instances, peers, roles
from db.engine import Database
from db.peers import Peer
from db.tables import Base
from regionmir.core.anatomy import anatomies
from regionmir.core.errors import ConfigurationError
from regionmir.core.identifiers import AETitle
from regionmir.core.settings import Settings
from regionmir.scu.store import Result
from regionmir.storage import FileStore
from regionmir.web.app import make_app, make_site
from tests.support.dicom import as_file, radiograph
from tests.support.doors import url_of
from tests.support.fake_model import FakeModel
from tests.support.films import write_film
from tests.support.find import find
from tests.support.running_node import running_node
from tests.support.signed_in import signed_in
from tests.support.web_client import WebClient
from tests.support.web_server import web_server
from workers.indexer import Indexer

As = Callable[[str], Database]


@pytest.fixture
def as_role(database: Database) -> Iterator[As]:
    """Return a function that gives the database as a role sees it; the roles are made first."""
    opened = [Database(_url(database, ""), application_name="administrator")]
    roles.apply(opened[0])
    roles.apply(opened[0])

    def as_role(role: str) -> Database:
        opened.append(Database(_url(database, role), application_name=role))
        return opened[-1]

    yield as_role
    for one in opened:
        one.close()


def _url(database: Database, role: str) -> str:
    """Return the URL for the superuser, who becomes `role` at once: the test server lets in nobody else."""
    url = make_url(database.url.render_as_string(hide_password=False)).set(username="postgres")
    url = url.update_query_dict({"options": f"-crole={role}"}) if role else url
    return url.render_as_string(hide_password=False)


def refused(database: Database, statement: str) -> bool:
    try:
        with database.session() as session:
            session.execute(text(statement))
    except ProgrammingError as error:
        return getattr(error.orig, "sqlstate", "") == "42501"  # insufficient privilege
    return False


def test_the_node_receives_answers_and_sends_under_its_role(as_role: As, tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.dcm", 1)
    other = write_film(tmp_path / "other.dcm", 2)
    with running_node(as_role(roles.NODE), tmp_path / "node") as node:
        assert [one.result for one in node.receive(film, other)] == [Result.STORED] * 2
        assert len(find(node.peer.port, "STUDY", calling="ANY", StudyInstanceUID="").rows) == 2


def test_the_worker_indexes_and_makes_partitions_under_its_role(
    as_role: As, database: Database, tmp_path: Path
) -> None:
    from tests.support.filing import file_film
    from tests.support.films import synthetic_film

    store = FileStore(tmp_path)
    file_film(as_role(roles.NODE), store, synthetic_film(1))
    worker = Indexer(as_role(roles.WORKER), store, FakeModel(), 4, lease_s=60)
    assert worker.drain() == 1
    worker.close()
    with database.session() as session:
        assert session.execute(text("SELECT state FROM instance")).scalars().all() == ["indexed"]


@pytest.mark.parametrize("role", [roles.NODE, roles.WEB])
def test_whoever_receives_corrects_patients_and_moves_studies_under_their_role(
    as_role: As, database: Database, role: str
) -> None:
    from tests.support.records import element, embedded, generation, header, index, receive

    receive(database, header(1, study="1.2.3"))
    receive(database, header(2, study="1.2.3"))
    with as_role(roles.WORKER).session() as session:
        model_pk = generations.ensure_model(session, generation())
        claimed = instances.claim(session, "worker", 10, 60)
    for one in claimed:
        assert index(as_role(roles.WORKER), model_pk, one, embedded(anatomies()[:1], 64))
    corrected = header(1, study="1.2.3", t00100040=element("CS", "M"), t00080020=element("DA", "20210101"))
    assert receive(as_role(role), corrected, "second", may_correct=True).outcome == "corrected"
    with database.session() as session:
        assert session.execute(text("SELECT sex, study_date::text FROM embedding")).all() == [("M", "2021-01-01")]
        session.execute(text("UPDATE instance SET kept = 'nothing' WHERE sop_instance_uid = '1.2.3.1.2'"))
    moved = header(1, study="1.2.4", series="1.2.3.1", sop="1.2.3.1.1", patient_id="P2")
    assert receive(as_role(role), moved, "third", may_correct=True).outcome == "corrected"
    with database.session() as session:
        assert session.scalars(text("SELECT study_instance_uid FROM study")).all() == ["1.2.4"]
        assert session.scalars(text("SELECT patient_id FROM patient")).all() == ["P2"]


def test_the_web_process_files_and_hands_out_under_its_role(as_role: As, database: Database, tmp_path: Path) -> None:
    as_role(roles.WEB)
    url = make_url(_url(database, roles.WEB)).set(drivername="postgresql").render_as_string(hide_password=False)
    with web_server(tmp_path, url, anonymous_store=True) as served:
        headers = {"Content-Type": "application/dicom", "Accept": "application/dicom+json"}
        where, film = f"{served.dicomweb}/studies", as_file(radiograph())
        assert httpx.post(where, content=film, headers=headers, trust_env=False).status_code == 200
        [found] = httpx.get(where, trust_env=False).json()
        address = found["00081190"]["Value"][0]
        assert httpx.get(address, headers={"Accept": "*/*"}, trust_env=False).status_code == 200


def test_the_pages_sign_people_in_rate_and_send_under_their_role(as_role: As, tmp_path: Path) -> None:
    from tests.support.filing import PSEUDONYMIZER, file_film
    from tests.support.films import synthetic_film

    store, films = FileStore(tmp_path), [synthetic_film(seed) for seed in range(2)]
    for film in films:
        file_film(as_role(roles.NODE), store, film)
    worker = Indexer(as_role(roles.WORKER), store, FakeModel(), 4, lease_s=60)
    worker.drain()
    worker.close()
    web = as_role(roles.WEB)
    session = signed_in(web)
    site = make_site(Settings(data_dir=tmp_path, database_url=url_of(web), signin="local"))
    pages = WebClient(make_app(site), session.headers)
    query, hit = (PSEUDONYMIZER.uid("instance", film.SOPInstanceUID) for film in films)
    for relevant in ("yes", ""):
        form = {"csrf": session.csrf, "query": query, "hit": hit, "region": "LLLZ", "relevant": relevant}
        assert pages.post("/feedback", form, {"Accept": "application/json"}).json() == {"relevant": relevant}
    form = {"csrf": session.csrf, "query": query, "region": "LLLZ", "to": "ARCHIVE"}
    with as_role("postgres").session() as administration:
        peers.upsert(administration, Peer(AETitle("ARCHIVE"), host="127.0.0.1", port=9, accepts_pseudonyms=True))
    assert pages.post("/send", form).status_code == 200
    assert pages.get(f"/maps/{query}/{hit}/LLLZ").json()["state"] == "waiting"
    assert pages.post("/sign-out", {"csrf": session.csrf}).status_code == 303
    site.close()


@pytest.mark.parametrize("role", [roles.NODE, roles.WORKER, roles.WEB])
def test_a_process_may_add_to_the_trail_and_nothing_else(as_role: As, role: str) -> None:
    database = as_role(role)
    with database.session() as session:
        audit.record(session, "peer added", actor=role, address="", detail={})
    with database.session() as session:
        assert audit_chain.verify(audit_chain.links(session)).events == 1
    for statement in (
        "UPDATE audit_event SET kind = 'x'",
        "DELETE FROM audit_event",
        "TRUNCATE audit_event",
        "INSERT INTO audit_event (pk, kind, actor, address) VALUES (7, '', '', '')",
        "INSERT INTO audit_event (at, kind, actor, address) VALUES (now(), '', '', '')",
        "INSERT INTO audit_chain VALUES (2, 1, '')",
        "ALTER TABLE audit_event DISABLE TRIGGER ALL",
        "DROP TABLE audit_event",
    ):
        assert refused(database, statement), statement


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        (roles.NODE, "UPDATE peer SET disclosure = 'identified'"),
        (roles.NODE, "DELETE FROM instance"),
        (roles.NODE, "CREATE TABLE mine (x INT)"),
        (roles.WORKER, "INSERT INTO peer SELECT * FROM peer"),
        (roles.WEB, "UPDATE peer SET disclosure = 'identified'"),
        (roles.WEB, "DELETE FROM instance"),
        (roles.WEB, "DELETE FROM study"),
        (roles.ANALYST, "SELECT * FROM patient"),
        (roles.ANALYST, "SELECT * FROM audit_event"),
        (roles.ANALYST, "SELECT * FROM pseudonym"),
    ],
)
def test_what_is_not_its_work_a_role_may_not(as_role: As, role: str, statement: str) -> None:
    assert refused(as_role(role), statement)


def test_the_analyst_reads_every_statistic_and_no_other_table(as_role: As) -> None:
    from tests.support.records import PSEUDONYMIZER, unit_vectors
    from tests.support.seed import film, seed

    vectors = unit_vectors(8, 64).reshape(8, 1, 64).repeat(5, axis=1)
    seed(as_role(roles.WORKER), [film(n, vectors[n]) for n in range(8)])
    anchor = PSEUDONYMIZER.uid("instance", "1.2.826.0.1.1.1.1")
    calls = (f"similar_regions('{anchor}', 'RL')", "recall_probe()", "drift('RL')", "outliers('RL')", "cohort()")
    analyst = as_role(roles.ANALYST)
    with analyst.session() as session:
        views = session.scalars(
            text("SELECT table_name FROM information_schema.views WHERE table_schema = 'analytics'")
        ).all()
        assert len(views) >= 4
        for view in views:
            session.execute(text(f"SELECT * FROM analytics.{view}")).all()
        found = {call: session.execute(text(f"SELECT * FROM analytics.{call}")).all() for call in calls}
    assert len(found[calls[0]]) == 7
    assert len(found["cohort()"]) == 8
    assert refused(analyst, "SELECT * FROM analytics_inner.film_key")
    for table in Base.metadata.tables:
        assert refused(analyst, f"SELECT 1 FROM {table}"), table


def test_every_table_that_a_rule_names_is_there() -> None:
    named = {table for rules in roles.WRITES.values() for tables in rules.values() for table in tables}
    assert named <= set(Base.metadata.tables)


def test_who_may_not_make_roles_is_told_what_to_do(database: Database) -> None:
    with pytest.raises(ConfigurationError, match="superuser"):
        roles.apply(database)
