"""What people do on the pages: rating hits, sending results, drawing boxes, asking for maps, administration."""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from sqlalchemy import text
from typer.testing import CliRunner

from db import audit, deliveries, findings, peers, visibility
from db.engine import Database
from db.findings import Named
from db.peers import Peer
from regionmir.admin.main import app as commands
from regionmir.core.identifiers import AETitle
from regionmir.core.records import Disclosure, Role
from regionmir.core.settings import Settings
from regionmir.storage import FileStore
from regionmir.web.app import make_app, make_site
from regionmir.web.site import Site
from tests.support.answering import working
from tests.support.doors import url_of
from tests.support.fake_model import PLACES, FakeModel
from tests.support.filing import PSEUDONYMIZER, file_film
from tests.support.films import synthetic_film
from tests.support.signed_in import signed_in
from tests.support.web_client import WebClient
from workers.indexer import Indexer

SHOWN = 6


@dataclass
class Visit:
    """Somebody who looks at the pages, and what their forms must carry."""

    client: WebClient
    csrf: str = ""

    def get(self, path: str) -> httpx.Response:
        return self.client.get(path)

    def post(self, path: str, form: dict[str, str], headers: dict[str, str] | None = None) -> httpx.Response:
        return self.client.post(path, {"csrf": self.csrf} | form, headers)


@dataclass
class Desk:
    """Films that are indexed, and visitors of the pages about them."""

    database: Database
    folder: Path
    films: list[Dataset]
    indexer: Indexer
    sites: list[Site] = field(default_factory=list)

    def anybody(self) -> Visit:
        """Return somebody where nobody signs in."""
        return Visit(WebClient(make_app(self._site("none"))))

    def user(self, role: Role = Role.READER, *, identified: bool = False) -> Visit:
        """Return somebody who has signed in."""
        session = signed_in(self.database, role, identified=identified)
        return Visit(WebClient(make_app(self._site("local")), session.headers), session.csrf)

    def _site(self, signin: str) -> Site:
        settings: dict[str, Any] = {"data_dir": self.folder, "database_url": url_of(self.database), "signin": signin}
        self.sites.append(make_site(Settings(**settings)))
        return self.sites[-1]

    def uid(self, number: int) -> str:
        return PSEUDONYMIZER.uid("instance", self.films[number].SOPInstanceUID)

    def film_url(self, number: int) -> str:
        return f"/studies/{PSEUDONYMIZER.uid('study', self.films[number].StudyInstanceUID)}/{self.uid(number)}"

    def rate(self, client: Visit, relevant: str, **fields: str) -> httpx.Response:
        form = {"query": self.uid(0), "hit": self.uid(1), "region": "LLLZ", "relevant": relevant}
        return client.post("/feedback", form | fields, {"Accept": "application/json"})

    def count(self, table: str) -> int:
        with self.database.session() as session:
            return int(session.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


@pytest.fixture
def desk(database: Database, tmp_path: Path) -> Iterator[Desk]:
    store = FileStore(tmp_path)
    films = [synthetic_film(seed, rows=128, columns=96) for seed in range(SHOWN)]
    for film in films:
        file_film(database, store, film)
    with database.session() as session:
        peers.upsert(session, Peer(AETitle("ARCHIVE"), host="127.0.0.1", port=9, accepts_pseudonyms=True))
        peers.upsert(session, Peer(AETitle("REAL"), host="127.0.0.1", port=9, disclosure=Disclosure.IDENTIFIED))
    indexer = Indexer(database, store, FakeModel(), 16, lease_s=60)
    indexer.drain()
    made = Desk(database, tmp_path, films, indexer)
    yield made
    for site in made.sites:
        site.close()
    indexer.close()


def test_an_opinion_is_kept_replaced_and_taken_back(desk: Desk) -> None:
    client = desk.user()
    assert desk.rate(client, "yes").json() == {"relevant": "yes"}
    assert 'said yes"' in client.get(f"{desk.film_url(0)}/LLLZ").text
    desk.rate(client, "no")
    assert desk.count("relevance_feedback") == 1
    assert 'said no"' in client.get(f"{desk.film_url(0)}/LLLZ").text
    desk.rate(client, "")
    assert desk.count("relevance_feedback") == 0


def test_an_opinion_of_a_drawn_box_is_another_than_of_the_region(desk: Desk) -> None:
    client = desk.user()
    desk.rate(client, "yes")
    desk.rate(client, "no", box="10,10,60,60")
    assert desk.count("relevance_feedback") == 2


def test_the_exported_opinions_name_pairs_and_counts_but_nobody(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for client in (desk.user(), desk.user(Role.ADMIN)):
        desk.rate(client, "yes")
    desk.rate(desk.user(), "no", box="24,32,48,64")
    monkeypatch.setenv("REGIONMIR_DATABASE_URL", url_of(desk.database))
    monkeypatch.setenv("REGIONMIR_DATA_DIR", str(desk.folder))
    out = tmp_path / "feedback.csv"
    result = CliRunner().invoke(commands, ["feedback", "export", "--out", str(out), "--json"])
    assert json.loads(result.output)["pairs"] == 2
    with out.open(encoding="utf-8", newline="") as file:
        region, drawn = csv.DictReader(file)
    assert (region["query_image"], region["hit_image"]) == (desk.uid(0), desk.uid(1))
    assert (region["anatomy"], region["drawn"]) == ("left lower lung zone", "0")
    assert (region["relevant"], region["not_relevant"]) == ("2", "0")
    assert [float(region[f"hit_{name}"]) for name in ("x0", "y0", "x1", "y1")] == pytest.approx(PLACES["LLLZ"])
    assert (drawn["drawn"], drawn["relevant"], drawn["not_relevant"]) == ("1", "0", "1")
    assert [float(drawn[f"query_{name}"]) for name in ("x0", "y0", "x1", "y1")] == [0.25, 0.25, 0.5, 0.5]
    told = out.read_text(encoding="utf-8")
    originals = [str(film[tag].value) for film in desk.films for tag in ("PatientID", "PatientName", "SOPInstanceUID")]
    assert not any(secret in told for secret in ("reader", "admin", *originals))


def test_without_a_script_an_opinion_leads_back_to_its_page_and_nowhere_else(desk: Desk) -> None:
    client = desk.user()
    form = {"query": desk.uid(0), "hit": desk.uid(1), "region": "LLLZ", "relevant": "yes"}
    for back, led in (
        ("/x?hit=2", "/x?hit=2"),
        ("//evil.example/", desk.film_url(0)),
        ("https://evil.example", desk.film_url(0)),
    ):
        answer = client.post("/feedback", form | {"back": back})
        assert (answer.status_code, answer.headers["location"]) == (303, led)


def test_whoever_has_not_signed_in_changes_nothing(desk: Desk) -> None:
    client = desk.anybody()
    assert desk.rate(client, "yes").status_code == 403
    assert client.post("/send", {"query": desk.uid(0), "region": "LLLZ", "to": "ARCHIVE"}).status_code == 403
    page = client.get(f"{desk.film_url(0)}/LLLZ").text
    assert 'action="/send"' not in page
    assert 'action="/feedback"' not in page
    assert "regionmir users add" in page
    assert "REGIONMIR_SIGNIN=local" in page
    assert desk.count("relevance_feedback") + desk.count("delivery") + desk.count("result_set") == 0


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"csrf": "another"}, 403),
        ({"relevant": "maybe"}, 400),
        ({"hit": "2.25.1"}, 404),
        ({"hit": "../x"}, 404),
        ({"region": "NONE"}, 404),
        ({"box": "1,2,3"}, 400),
        ({"box": "9,9,9,9"}, 400),
        ({"box": "5,5,6,6"}, 400),
        ({"box": "nan,0,9,9"}, 400),
        ({"box": "500,500,600,600"}, 400),
    ],
)
def test_forms_that_cannot_be_meant_are_refused_and_say_why(desk: Desk, change: dict[str, str], status: int) -> None:
    answer = (
        desk.rate(desk.user(), "yes", **{k: v for k, v in change.items() if k != "relevant"})
        if ("relevant" not in change)
        else desk.rate(desk.user(), change["relevant"])
    )
    assert answer.status_code == status
    assert "Traceback" not in answer.text
    assert desk.count("relevance_feedback") == 0


def test_large_and_foreign_bodies_are_refused(desk: Desk) -> None:
    reader = desk.user()
    headers = {"X-CSRF-Token": reader.csrf}
    assert reader.post("/feedback", {"query": "x" * 70_000}, headers).status_code == 413
    assert reader.post("/feedback", {}, headers | {"Content-Type": "application/json"}).status_code == 415


def test_every_page_gives_its_forms_and_scripts_the_value_of_the_session(desk: Desk) -> None:
    reader = desk.user()
    page = reader.get(f"{desk.film_url(0)}/LLLZ").text
    assert f'<meta name="csrf" content="{reader.csrf}">' in page
    assert page.count('method="post"') == page.count(f'name="csrf" value="{reader.csrf}"') == 3
    assert 'name="csrf" content' not in desk.anybody().get(f"{desk.film_url(0)}/LLLZ").text


def test_a_viewer_is_told_who_lets_them_rate_and_send(desk: Desk) -> None:
    viewer = desk.user(Role.VIEWER)
    page = viewer.get(f"{desk.film_url(0)}/LLLZ").text
    assert "regionmir users role NAME reader" in page
    assert 'method="post"' not in page
    assert desk.rate(viewer, "yes").status_code == 403


def test_results_are_in_the_outbox_once_per_answer_and_in_the_audit_trail(desk: Desk) -> None:
    client = desk.user()
    form = {"query": desk.uid(0), "region": "LLLZ", "to": "ARCHIVE"}
    answer = client.post("/send", form, {"Accept": "application/json"})
    assert answer.status_code == 200, answer.text
    with desk.database.session() as session:
        (sent,) = deliveries.listing(session)
        kinds = [event.kind for event in audit.listing(session)]
    assert (sent.destination, sent.kind, sent.state.value) == ("ARCHIVE", "sr", "waiting")
    assert sent.study_instance_uid == desk.films[0].StudyInstanceUID
    assert answer.json()["code"] in answer.json()["said"]
    assert "results sent" in kinds
    assert "on their way to ARCHIVE" in client.post("/send", form).text


def test_whoever_sends_results_and_sees_identities_is_named_as_the_one_who_asked(desk: Desk) -> None:
    answer = desk.user(identified=True).post("/send", {"query": desk.uid(0), "region": "LLLZ", "to": "REAL"})
    assert answer.status_code == 200, answer.text
    with desk.database.session() as session:
        found = audit.listing(session, kinds=["similarity query", "results sent"])
    told = [(event.kind, event.actor) for event in found]
    assert sorted(told) == [("results sent", "reader"), ("similarity query", "reader")]


def test_results_go_to_known_destinations_alone(desk: Desk) -> None:
    client = desk.user()
    answer = client.post("/send", {"query": desk.uid(0), "region": "LLLZ", "to": "NOBODY"})
    assert answer.status_code == 400
    assert "peers add" in answer.text
    answer = client.post("/send", {"query": desk.uid(0), "region": "LLLZ", "to": "REAL"})
    assert answer.status_code == 400
    assert "under pseudonyms" in answer.text
    assert desk.count("delivery") + desk.count("result_set") == 0


def test_a_drawn_box_is_compared_as_the_region_that_it_overlaps_most(desk: Desk) -> None:
    client = desk.anybody()
    with working(desk.indexer):
        answer = client.get(f"{desk.film_url(0)}/drawn?box=52,76,86,104&sex=F")
        assert (answer.status_code, "/LLLZ?box=" in answer.headers["location"]) == (303, True)
        assert "sex=F" in answer.headers["location"]
        page = client.get(answer.headers["location"].replace("&sex=F", "")).text
    assert page.count('class="card"') == SHOWN - 1
    assert 'class="drawn"' in page


@pytest.mark.parametrize("box", ["", "1,2,3", "5,5,5,9", "0,0,1,1", "900,900,990,990", "a,b,c,d"])
def test_boxes_without_area_or_outside_the_film_say_what_to_do(desk: Desk, box: str) -> None:
    answer = desk.anybody().get(f"{desk.film_url(0)}/drawn?box={box}")
    assert answer.status_code == 400
    assert "draw" in answer.text


def test_filters_narrow_the_hits_and_say_so_where_none_is_left(desk: Desk) -> None:
    client = desk.anybody()
    with desk.database.session() as session:
        findings.replace(session, desk.films[3].StudyInstanceUID, [Named("Nodule")])
    url = f"{desk.film_url(0)}/LLLZ"
    for query, count in (
        ("sex=F", 2),
        ("sex=M", 3),
        ("view=PA", 4),
        ("finding=nodule", 1),
        ("age_from=79&age_to=79", 5),
    ):
        assert client.get(f"{url}?{query}").text.count('class="card"') == count, query
    assert "passes the filters" in client.get(f"{url}?age_to=1").text
    for query in ("sex=X", "age_from=-1", "date_to=yesterday", "view=LL", "hit=x"):
        assert client.get(f"{url}?{query}").status_code == 400


def test_the_list_is_searched_by_what_the_visitor_sees(desk: Desk) -> None:
    film = desk.films[0]
    pseudonym = desk.anybody().get("/").text.split('class="patient">')[1].split("<")[0]
    for visitor, text_, count in (
        (desk.anybody(), pseudonym, 1),
        (desk.anybody(), film.PatientID, 0),
        (desk.anybody(), film.AccessionNumber, 0),
        (desk.user(identified=True), film.PatientID, 1),
        (desk.user(identified=True), film.AccessionNumber, 1),
    ):
        assert visitor.get(f"/?q={text_}").text.count('class="study"') == count
    assert desk.anybody().get("/?sex=M&state=indexed").text.count('class="study"') == 3


def test_identities_are_shown_to_those_who_may_know_and_that_is_written_down(desk: Desk) -> None:
    identified, film = desk.user(identified=True), desk.films[0]
    assert film.PatientID in identified.get("/").text
    assert film.PatientID in identified.get(f"{desk.film_url(0)}/LLLZ").text
    for picture in ("film.jpg", "film.png"):
        assert identified.get(f"/instances/{desk.uid(0)}/{picture}").status_code == 200
    with desk.database.session() as session:
        picture, coarse, opened, asked, *listed = audit.listing(session)
    assert [event.detail["how"] for event in (picture, coarse, opened)] == ["picture", "small picture", "opened"]
    assert [event.detail["how"] for event in listed] == ["listed"] * SHOWN, "one event for each patient"
    assert (asked.kind, len(asked.detail["study_pks"])) == ("similarity query", SHOWN - 1)
    assert {event.actor for event in (picture, coarse, asked, opened, *listed)} == {"reader"}
    for event in (picture, coarse, opened):
        assert 'csd-code="110103"' in event.message
        assert film.StudyInstanceUID in event.message
    assert film.PatientID not in desk.user(Role.ADMIN).get("/").text


def test_an_archive_may_link_to_a_study_by_its_original_uid_for_identified_visitors_alone(desk: Desk) -> None:
    film, identified = desk.films[0], desk.user(identified=True)
    link, nothing = f"/open/{film.StudyInstanceUID}", f"/open/{film.StudyInstanceUID}.1"
    answer = identified.get(link)
    assert (answer.status_code, answer.headers["location"]) == (303, desk.film_url(0).rpartition("/")[0])
    for visitor in (desk.anybody(), desk.user(), desk.user(Role.ADMIN)):
        known, unknown = visitor.get(link), visitor.get(nothing)
        assert (known.status_code, known.text) == (404, unknown.text)
    with desk.database.session() as session:
        visibility.hide(session, [film.StudyInstanceUID], "deleted")
    assert desk.user(identified=True).get(link).status_code == 404


def test_similarity_maps_are_made_by_a_worker_and_lie_over_both_regions(desk: Desk) -> None:
    client = desk.anybody()
    path = f"/maps/{desk.uid(0)}/{desk.uid(1)}/LLLZ"
    assert client.get(f"{path}/hit.png").status_code == 404
    with working(desk.indexer):
        assert client.get(path).json() == {"state": "made", "why": ""}
    corners = {}
    for side in ("query", "hit"):
        with Image.open(io.BytesIO(client.get(f"{path}/{side}.png").content)) as picture:
            corners[side] = np.asarray(picture)[0, 0]
    assert corners["query"][2] > corners["query"][0], "cold where the query's map begins"
    assert corners["hit"][0] > corners["hit"][2], "warm where the hit's map begins"
    assert client.get(f"{path}/other.png").status_code == 404


def test_a_map_of_a_box_outside_the_film_is_refused(desk: Desk) -> None:
    answer = desk.anybody().get(f"/maps/{desk.uid(0)}/{desk.uid(1)}/LLLZ?box=500,500,600,600")
    assert (answer.status_code, "outside the film" in answer.text) == (400, True)


def test_results_go_to_no_name_that_is_none(desk: Desk) -> None:
    answer = desk.user().post("/send", {"query": desk.uid(0), "region": "LLLZ", "to": "A" * 17})
    assert answer.status_code == 400
    assert desk.count("delivery") == 0


def test_administration_is_for_administrators(desk: Desk) -> None:
    for path in ("/admin", "/admin/deliveries", "/admin/models", "/admin/peers", "/admin/audit"):
        assert desk.anybody().get(path).status_code == 403
        assert desk.user().get(path).status_code == 403
        assert desk.user(Role.ADMIN).get(path).status_code == 200


def test_details_of_the_trail_are_for_those_who_may_know_and_reading_it_is_an_event(desk: Desk) -> None:
    with desk.database.session() as session:
        audit.record(session, "retrieve", actor="PACS", address="192.0.2.7", detail={"studies": ["1.2.3.4.5"]})
    for identified in (False, True):
        page = desk.user(Role.ADMIN, identified=identified).get("/admin/audit").text
        assert all(f"<td>{word}</td>" in page for word in ("retrieve", "PACS", "192.0.2.7", "audit searched"))
        assert ("1.2.3.4.5" in page) is identified
    with desk.database.session() as session:
        events = audit.listing(session, kinds=["audit searched"])
    assert [event.actor for event in events] == ["admin", "admin"]
    assert all('csd-code="110101"' in event.message for event in events)


def test_what_a_person_does_through_the_api_is_audited_under_the_login_name(desk: Desk) -> None:
    person, question = desk.user(identified=True), {"anchor": desk.films[0].AccessionNumber, "regions": ["LLLZ"]}
    headers = {"X-CSRF-Token": person.csrf}
    asked = person.client.request("POST", "/api/v1/queries", headers, json=question)
    assert asked.status_code == 200
    assert person.get(f"/api/v1/result-sets/{asked.json()['code']}").status_code == 200
    assert person.client.request("POST", "/api/v1/queries", headers, json=question | {"anchor": "NONE"}).is_error
    with desk.database.session() as session:
        events = audit.listing(session)
    assert {event.kind for event in events} == {"similarity query", "instances shown", "anchor refused"}
    assert {event.actor for event in events} == {"reader"}


def test_dead_letters_are_tried_again_or_given_up(desk: Desk) -> None:
    admin = desk.user(Role.ADMIN)
    admin.post("/send", {"query": desk.uid(0), "region": "LLLZ", "to": "ARCHIVE"})
    with desk.database.session() as session:
        session.execute(text("UPDATE delivery SET state = 'dead', reason = 'refused 0xA700'"))
        (dead,) = deliveries.listing(session)
    assert "refused 0xA700" in admin.get("/admin/deliveries").text
    for do, state in (("retry", "waiting"), ("drop", "dropped")):
        form = {"number": str(dead.pk), "do": do}
        assert admin.post("/admin/deliveries", form).status_code == 303
        with desk.database.session() as session:
            assert deliveries.listing(session)[0].state.value == state
    assert admin.post("/admin/deliveries", {"number": "x", "do": "retry"}).status_code == 400


def test_an_echo_to_a_peer_that_is_away_says_so(desk: Desk) -> None:
    admin = desk.user(Role.ADMIN)
    answer = admin.post("/admin/peers/echo", {"ae_title": "ARCHIVE"}, {"Accept": "application/json"})
    assert answer.json()["ok"] is False
    assert "ARCHIVE" in answer.json()["peer"]


def test_a_peer_that_is_called_over_tls_is_asked_over_tls_by_its_echo(desk: Desk) -> None:
    with desk.database.session() as session:
        peers.upsert(session, Peer(AETitle("SECURE"), host="127.0.0.1", port=9, tls=True))
    answer = desk.user(Role.ADMIN).post("/admin/peers/echo", {"ae_title": "SECURE"}, {"Accept": "application/json"})
    assert answer.json()["ok"] is False
    assert "REGIONMIR_TLS_AUTHORITIES" in answer.json()["said"]


def test_the_live_state_counts_and_says_why(desk: Desk) -> None:
    file_film(desk.database, FileStore(desk.folder), synthetic_film(90, ViewPosition="LL"))
    desk.indexer.drain()
    found = desk.anybody().get("/live.json").json()
    assert found["states"]["indexed"] == SHOWN
    assert found["why"] == {"lateral view": 1}
    assert found["studies"] == SHOWN + 1
