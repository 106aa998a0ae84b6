"""A new model beside the old one: embedded, compared, switched to, gone back from, retired. Nothing is lost."""

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import text

from db import analyses, completeness, drawn_boxes, embeddings, generations, peers, wanted_answers
from db.analyses import Judgement
from db.completeness import CompleteStudy
from db.deliveries import Result
from db.engine import Database
from db.peers import Peer
from regionmir.core.anatomy import anatomy_by_short
from regionmir.core.errors import ModelError, QueryRefused
from regionmir.core.geometry import Box
from regionmir.core.identifiers import AETitle, Uid
from regionmir.core.records import Caller, Disclosure, InstanceState, Rights
from regionmir.query import shadow
from regionmir.query.request import RegionQuery
from regionmir.query.search import Answer, reopen, search
from regionmir.results.outbox import ResultOutbox
from regionmir.storage import FileStore
from tests.support.fake_model import PLACES, FakeAnalysis, FakeModel
from tests.support.filing import PSEUDONYMIZER, file_film
from tests.support.films import synthetic_film
from workers.answering import Answering
from workers.catching_up import CatchUp
from workers.completion import Completion
from workers.indexer import Indexer
from workers.models import Models
from workers.planning import StudyPlanner

CARD = anatomy_by_short("CARD")
CALLER = Caller(AETitle("X"), "127.0.0.1", Rights(), Disclosure.IDENTIFIED, registered=True)


class Crash(BaseException):
    """Stands for a process that dies: nothing catches it, nothing is cleaned up."""


@dataclass
class Site:
    """A database and objects, and what an index worker has: the model `""` and others by name."""

    database: Database
    store: FileStore
    made: dict[str, Any] = field(default_factory=lambda: {"": FakeModel()})
    closed: list[Indexer] = field(default_factory=list)

    def worker(self, **options: Any) -> tuple[Indexer, CatchUp]:
        """Return what a fresh index worker process has."""
        models = Models(self.database, self.made.__getitem__)
        models.start()
        indexer = Indexer(self.database, self.store, self.made[""], 4, lease_s=60, models=models)
        self.closed.append(indexer)
        return indexer, CatchUp(self.database, self.store, models, options.pop("batch_size", 3), 60, **options)

    def file(self, count: int, first: int = 0) -> list[Uid]:
        films = (synthetic_film(seed, rows=64, columns=64) for seed in range(first, first + count))
        return [file_film(self.database, self.store, film) for film in films]

    def propose(self, name: str = "new", dim: int = 64) -> int:
        self.made.setdefault(name, FakeModel(name=name, dim=dim))
        with self.database.session() as session:
            return generations.propose(session, self.made[name].info, name)

    def pending(self, number: int) -> int:
        with self.database.session() as session:
            return analyses.pending(session, number)

    def statuses(self) -> dict[int, str]:
        with self.database.session() as session:
            return {one.pk: one.status for one in generations.listing(session)}

    def rows(self, query: str, **values: Any) -> list[Any]:
        with self.database.session() as session:
            return [tuple(row) for row in session.execute(text(query), values)]

    def whole(self, number: int, films: int) -> None:
        """Check that a generation has one set of regions and embeddings of each of so many films."""
        each = "SELECT count(*), count(DISTINCT anatomy_pk) FROM {} WHERE model_pk = :m GROUP BY instance_pk"
        for table in ("region", "embedding"):
            assert self.rows(each.format(table), m=number) == [(len(PLACES), len(PLACES))] * films, table

    def ask(self, uid: Uid, anatomy: Any = CARD) -> Answer:
        with self.database.session() as session:
            return search(session, RegionQuery(anchor=uid, anatomies=(anatomy,), k=20), CALLER)

    def run(self, statement: str, **values: Any) -> None:
        with self.database.session() as session:
            session.execute(text(statement), values)

    def do(self, action: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        with self.database.session() as session:
            return action(session, *arguments, **options)


@pytest.fixture
def site(database: Database, tmp_path: Path) -> Iterator[Site]:
    site = Site(database, FileStore(tmp_path))
    yield site
    for indexer in site.closed:
        indexer.close()


def test_a_wider_model_is_built_beside_the_one_that_answers_takes_over_and_is_gone_back_from(site: Site) -> None:
    indexer, catch_up = site.worker()
    uids = site.file(5)
    indexer.drain()
    number = site.propose()
    assert site.pending(number) == 5
    before = site.ask(uids[0])
    assert catch_up.look() == 5
    assert site.ask(uids[0]).hits == before.hits, "the old one answers as before"
    site.whole(number, 5)
    site.do(generations.activate, number)
    assert site.statuses() == {1: "previous", number: "active"}
    after = site.ask(uids[0])
    assert len(after.hits) == 4
    uids += site.file(1, 5)
    indexer.drain()
    assert catch_up.look() == 1, "the previous one is kept up to date"
    for generation in (1, number):
        site.whole(generation, 6)
    assert len(site.ask(uids[5]).hits) == 5
    assert site.do(generations.roll_back) == 1
    assert site.statuses() == {1: "active", number: "previous"}
    assert len(site.ask(uids[5]).hits) == 5
    assert site.do(generations.roll_back) == number, "and forth again"


def test_two_real_networks_of_other_widths_take_turns(database: Database, tmp_path: Path) -> None:
    from models.registry import load_model, location
    from tests.support.untrained import save_untrained

    folders = {dim: location(str(save_untrained(tmp_path / str(dim), dim))) for dim in (96, 128)}
    site = Site(database, FileStore(tmp_path / "objects"))
    models = Models(database, lambda name: load_model(name or folders[96], threads=1), folders[96])
    indexer = Indexer(database, site.store, models.active().model, 4, lease_s=60, models=models)
    uids = site.file(3)
    indexer.drain()
    catch_up = CatchUp(database, site.store, models, 3, 60)
    number = site.do(generations.propose, load_model(folders[128]).info, folders[128])
    assert catch_up.look() == 3
    site.do(generations.activate, number)
    site.file(1, 3)
    assert indexer.drain() == 1
    widths = "SELECT DISTINCT model_pk, vector_dims(v) FROM embedding ORDER BY 1"
    assert site.rows(widths) == [(1, 96), (number, 128)]
    assert models.active().model.info.dim == 128
    anchor = site.rows("SELECT pk FROM instance WHERE sop_instance_uid = :uid", uid=uids[0])[0][0]
    pk = site.do(drawn_boxes.ask, anchor, number, CARD, Box(5, 5, 40, 40))
    indexer.embed_boxes()
    found = drawn_boxes.wait(database, pk, 1)
    assert found.vector is not None
    assert found.vector.shape == (128,)
    indexer.close()


def test_new_arrivals_come_first_then_the_newest_films(site: Site) -> None:
    indexer, catch_up = site.worker(batch_size=1)
    site.file(4)
    indexer.drain()
    number = site.propose()
    site.file(1, 4)
    assert catch_up.look() == 0, "while a new arrival waits for the generation that answers"
    indexer.drain()
    assert catch_up.look() == 5
    order = "SELECT instance_pk FROM analysis WHERE model_pk = :m ORDER BY ended_at"
    assert [pk for (pk,) in site.rows(order, m=number)] == [5, 4, 3, 2, 1]


@pytest.mark.parametrize("dies_at", [0, 1, 4])
def test_a_crash_at_any_film_loses_nothing_and_writes_nothing_twice(
    site: Site, dies_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    indexer, catch_up = site.worker()
    site.file(5)
    indexer.drain()
    number = site.propose()
    real, steps = analyses.finish, iter(range(100))

    def finish(*arguments: Any) -> bool:
        step = next(steps)
        if step == dies_at // 2 and dies_at % 2 == 0:
            raise Crash
        done = real(*arguments)
        if step == dies_at // 2:
            arguments[0].commit()
            raise Crash
        return done

    with monkeypatch.context() as dying:
        dying.setattr(analyses, "finish", finish)
        with pytest.raises(Crash):
            catch_up.look()
    assert site.pending(number) >= 5 - dies_at
    with pytest.raises(ModelError, match="still to look at"):
        site.do(generations.activate, number)
    site.run("UPDATE analysis SET lease_until = now() - interval '1 s'")
    _, another = site.worker()
    another.look()
    assert site.pending(number) == 0
    site.whole(number, 5)
    site.do(generations.activate, number)


def test_films_read_for_one_model_are_read_again_where_another_side_is_wanted_by_the_time(site: Site) -> None:
    class Sided(FakeModel):
        side = 64

        def analyse(self, images: Any) -> Any:
            return super().analyse([image.values for image in images])

    class Retires(FakeModel):
        def analyse(self, images: Any) -> Any:
            site.run("UPDATE model SET status = 'previous' WHERE pk <> :m", m=number)
            site.run("UPDATE model SET status = 'active' WHERE pk = :m", m=number)
            return super().analyse(images)

    site.made |= {"": Retires(), "new": Sided(name="new", dim=64)}
    indexer, _ = site.worker()
    number = site.propose()
    site.file(8)
    assert indexer.drain() == 8
    assert site.rows("SELECT state, count(*) FROM instance GROUP BY 1") == [("indexed", 8)]
    site.whole(number, 4)


def test_a_film_that_kills_its_worker_again_and_again_is_given_up_alone(site: Site) -> None:
    class Deadly(FakeModel):
        def analyse(self, images: Any) -> Any:
            if any(image.shape == (48, 48) for image in images):
                raise Crash
            return super().analyse(images)

    indexer, _ = site.worker()
    site.file(3)
    file_film(site.database, site.store, synthetic_film(9, rows=48, columns=48))
    indexer.drain()
    site.made["new"] = Deadly(name="new", dim=64)
    number = site.propose()
    for _ in range(analyses.MAX_ATTEMPTS):
        with pytest.raises(Crash):
            site.worker()[1].look()
        site.run("UPDATE analysis SET lease_until = now() - interval '1 s'")
    site.worker()[1].look()
    states = "SELECT state, count(*) FROM analysis WHERE model_pk = :m GROUP BY 1 ORDER BY 1"
    assert site.rows(states, m=number) == [("failed", 1), ("indexed", 3)]
    site.do(generations.activate, number)
    assert site.do(analyses.retry_failed, number) == 1


def test_a_film_that_only_the_new_model_takes_for_a_chest_is_searched_by_it_alone(site: Site) -> None:
    class Picky(FakeModel):
        def analyse(self, images: Any) -> Any:
            refused = FakeAnalysis(False, 0.0, "no", ())
            found = zip(images, super().analyse(images), strict=True)
            return [refused if image.shape == (48, 48) else one for image, one in found]

    site.made[""] = Picky()
    indexer, catch_up = site.worker()
    site.file(2)
    odd = file_film(site.database, site.store, synthetic_film(9, rows=48, columns=48))
    indexer.drain()
    state = "SELECT state, reason FROM instance WHERE sop_instance_uid = :uid"
    assert site.rows(state, uid=odd) == [("unsupported", analyses.NOT_A_CHEST)]
    number = site.propose()
    assert catch_up.look() == 3
    assert site.rows(state, uid=odd)[0][0] == "unsupported"
    site.do(generations.activate, number)
    assert site.rows(state, uid=odd) == [("indexed", "")]
    assert len(site.ask(odd).hits) == 2
    site.do(generations.roll_back)
    assert site.rows(state, uid=odd) == [("unsupported", analyses.NOT_A_CHEST)]


def test_a_film_corrected_while_it_was_looked_at_is_looked_at_again(site: Site) -> None:
    indexer, catch_up = site.worker()
    site.file(1)
    indexer.drain()
    number = site.propose()
    (claimed,) = site.do(analyses.claim, number, 5, 60.0)
    changed = synthetic_film(0, rows=64, columns=64)
    changed.PixelData = bytes(changed.PixelData)[::-1]
    file_film(site.database, site.store, changed)
    assert not site.do(analyses.finish, number, claimed, Judgement(InstanceState.UNSUPPORTED, "stale"))
    indexer.drain()
    assert catch_up.look() == 1
    site.whole(number, 1)
    hashes = "SELECT DISTINCT i.pixel_sha256 = e.pixel_sha256 FROM instance i JOIN embedding e ON e.instance_pk = i.pk"
    assert site.rows(hashes) == [(True,)]


def test_a_film_that_arrived_while_a_generation_was_proposed_is_not_missed(site: Site) -> None:
    """Neither transaction sees the other: the film is on no list, and is found before anything is switched."""
    indexer, catch_up = site.worker()
    site.file(2)
    indexer.drain()
    number = site.propose()
    site.run("DELETE FROM analysis WHERE model_pk = 2 AND instance_pk = 1")
    with pytest.raises(ModelError, match="still to look at 2 instances"):
        site.do(generations.activate, number)
    assert catch_up.look() == 2
    site.do(generations.activate, number)
    site.whole(number, 2)


def test_an_incomplete_generation_takes_over_only_if_told_so_and_is_completed(site: Site) -> None:
    indexer, catch_up = site.worker()
    uids = site.file(3)
    indexer.drain()
    number = site.propose()
    with pytest.raises(ModelError, match="--incomplete"):
        site.do(generations.activate, number)
    site.do(generations.activate, number, incomplete=True)
    assert catch_up.look() == 3
    assert len(site.ask(uids[0]).hits) == 2


def test_a_retired_generation_leaves_its_boxes_and_comes_back_only_when_embedded_anew(site: Site) -> None:
    indexer, catch_up = site.worker()
    uids = site.file(3)
    indexer.drain()
    answer = site.ask(uids[0])
    number = site.propose()
    catch_up.look()
    with pytest.raises(ModelError, match="searches use"):
        generations.retire(site.database, 1)
    site.do(generations.activate, number)
    generations.retire(site.database, 1)
    generations.retire(site.database, 1)
    tables = "SELECT count(*) FROM pg_class WHERE relname LIKE 'embedding_m1%'"
    assert site.rows(tables) == [(0,)]
    assert site.rows("SELECT count(*) FROM region WHERE model_pk = 1") == [(3 * len(PLACES),)]
    again = site.do(reopen, answer.code, CALLER)
    assert [hit.study_pk for hit in again.hits] == [hit.study_pk for hit in answer.hits]
    site.file(1, 3)
    indexer.drain()
    embeddings.ensure_ann_indexes(site.database)
    for action in (lambda: site.do(generations.activate, 1), lambda: site.do(generations.roll_back)):
        with pytest.raises(ModelError):
            action()
    assert site.do(generations.propose, FakeModel().info, "") == 1
    assert catch_up.look() == 4
    site.whole(1, 4)


def test_a_retirement_that_was_cut_off_is_finished_by_running_it_again(site: Site) -> None:
    indexer, _ = site.worker()
    site.file(1)
    indexer.drain()
    number = site.propose()
    site.run("UPDATE model SET status = 'retired' WHERE pk = 2")
    with pytest.raises(ModelError, match="model retire 2"):
        site.propose()
    generations.retire(site.database, number)
    assert site.propose() == number


def test_searches_go_on_while_a_generation_is_retired(site: Site) -> None:
    indexer, catch_up = site.worker()
    uids = site.file(2)
    indexer.drain()
    number = site.propose()
    catch_up.look()
    with site.database.session() as reader:
        search(reader, RegionQuery(anchor=uids[0], anatomies=(CARD,)), CALLER, keep=False)
        retiring = threading.Thread(target=generations.retire, args=(site.database, number))
        retiring.start()
        waits = (
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%DETACH%CONCURRENTLY' AND pid <> pg_backend_pid()"
        )
        deadline = time.monotonic() + 60
        while site.rows(waits) == [(0,)] and retiring.is_alive() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(site.ask(uids[0]).hits) == 1
    retiring.join(60)
    assert not retiring.is_alive()
    assert site.statuses()[number] == "retired"


def test_a_generation_whose_model_is_not_here_holds_up_no_other(site: Site) -> None:
    indexer, catch_up = site.worker()
    site.file(2)
    indexer.drain()
    away, here = site.propose("away"), site.propose("here")
    site.made["away"] = FakeModel(name="something else")
    assert catch_up.look() == 2
    assert (site.pending(away), site.pending(here)) == (2, 0)
    assert site.rows("SELECT DISTINCT state, attempts FROM analysis WHERE model_pk = :m", m=away) == [("waiting", 0)]
    site.do(generations.activate, away, incomplete=True)
    with pytest.raises(ModelError, match="is not the model of away"):
        indexer.drain()


def test_building_takes_only_its_share_of_the_time(site: Site) -> None:
    indexer, catch_up = site.worker(batch_size=1, share=0.25)
    site.file(3)
    indexer.drain()
    site.made["new"] = FakeModel(name="new", dim=64, pass_s=0.1)
    site.propose()
    began = time.monotonic()
    assert catch_up.look() == 3
    assert time.monotonic() - began > 3 * 0.1 * 4


def refusing(size: tuple[int, int], **named: Any) -> FakeModel:
    """Return a model that takes no image of this size for a chest."""

    class Refusing(FakeModel):
        def analyse(self, images: Any) -> Any:
            refused = FakeAnalysis(False, 0.0, "no", ())
            found = zip(images, super().analyse(images), strict=True)
            return [refused if image.shape == size else one for image, one in found]

    return Refusing(**named)


def switched_in_a_pass(site: Site, *then: Callable[[], object]) -> FakeModel:
    """Return a model whose first pass ends after another generation, number 2, took over."""
    left = [lambda: site.do(generations.activate, 2, incomplete=True), *then]

    class Switched(FakeModel):
        def analyse(self, images: Any) -> Any:
            while left:
                left.pop(0)()
            return super().analyse(images)

    return Switched()


def completion(site: Site) -> Completion:
    site.do(peers.upsert, Peer(AETitle("TEST"), disclosure=Disclosure.IDENTIFIED, results_to="PACS"))
    return Completion(site.database, [StudyPlanner(site.database, PSEUDONYMIZER, (), 3)], quiet_s=0)


SENT = "SELECT model_pk, count(*) FROM delivery GROUP BY 1 ORDER BY 1"


def test_films_in_flight_at_a_switch_get_their_results_and_answers_from_the_new_model(site: Site) -> None:
    site.made[""] = switched_in_a_pass(site)
    indexer, catch_up = site.worker()
    assert site.propose() == 2
    uids = site.file(4)
    sender = replace(CALLER, rights=Rights(find=True))
    site.do(wanted_answers.want, "A", uids[0], [CARD], sender, "PACS")
    site.do(wanted_answers.want, "A", uids[1], [], sender, "PACS")
    assert indexer.drain() == 4
    assert site.statuses() == {1: "previous", 2: "active"}
    complete, answering = completion(site), Answering(site.database, 3, ResultOutbox(PSEUDONYMIZER))
    assert (complete.look(), answering.answer_waiting()) == (0, 0)
    with pytest.raises(QueryRefused, match="not indexed by the new model yet"):
        site.ask(uids[0])
    assert catch_up.look() == 4
    assert answering.answer_waiting() == 2
    assert site.rows("SELECT DISTINCT state FROM wanted_answer") == [("answered",)]
    assert complete.look() == 2
    assert site.rows(SENT) == [(2, 4)]


def test_a_switch_sends_no_results_a_second_time(site: Site) -> None:
    indexer, catch_up = site.worker()
    site.file(2)
    indexer.drain()
    complete = completion(site)
    assert complete.look() == 2
    number = site.propose()
    catch_up.look()
    site.do(generations.activate, number)
    assert site.do(completeness.complete_studies, number, quiet_s=0, limit=9) == []
    first = synthetic_film(0, rows=64, columns=64)
    late = synthetic_film(7, rows=64, columns=64, patient=0, StudyInstanceUID=first.StudyInstanceUID)
    file_film(site.database, site.store, late)
    indexer.drain()
    assert complete.look() == 1, "of the late film alone"
    assert site.rows(SENT) == [(1, 2), (number, 1)]
    site.do(generations.roll_back)
    catch_up.look()
    assert complete.look() == 0


def test_a_switch_while_a_worker_plans_results_sends_none_twice(site: Site) -> None:
    indexer, catch_up = site.worker()
    site.file(2)
    indexer.drain()
    number = site.propose()
    catch_up.look()
    other = completion(site)
    planner = other.planners[0]

    class Overtaken:
        """Plans by the old model; then the switch comes, and another worker is quicker with the rest."""

        def plan(self, study: CompleteStudy) -> Sequence[Result]:
            planned = planner.plan(study)
            if site.statuses()[number] != "active":
                assert len(planned) == 1
                site.do(generations.activate, number)
                other.look()
            return planned

    assert replace(other, planners=[Overtaken()]).look() == 0
    assert site.rows(SENT) == [(number, 2)]
    assert other.look() == 0


def test_what_the_active_model_says_while_it_catches_up_counts_at_once(site: Site) -> None:
    site.made[""] = refusing((48, 48))
    site.made["new"] = refusing((64, 64), name="new")
    indexer, catch_up = site.worker()
    site.file(1)
    odd = file_film(site.database, site.store, synthetic_film(9, rows=48, columns=48))
    indexer.drain()
    site.run("UPDATE instance SET received_at = received_at - interval '30 days'")
    number = site.propose()
    site.do(generations.activate, number, incomplete=True)
    states = "SELECT state, reason FROM instance ORDER BY sop_instance_uid = :uid"
    assert site.rows(states, uid=odd) == [("indexed", ""), ("unsupported", analyses.NOT_A_CHEST)]
    complete = completion(site)
    assert catch_up.look() == 2
    assert site.rows(states, uid=odd) == [("unsupported", analyses.NOT_A_CHEST), ("indexed", "")]
    assert complete.look() == 0, "it came long ago"


@pytest.mark.parametrize("refused", [False, True])
def test_a_model_that_is_retired_during_a_pass_leaves_its_films_to_the_next(site: Site, refused: bool) -> None:
    switched = switched_in_a_pass(site, lambda: generations.retire(site.database, 1))
    site.made[""] = switched
    indexer, _ = site.worker()
    number = site.propose()
    site.file(2)
    if refused:
        blank = synthetic_film(2, rows=64, columns=64)
        blank.PixelData = bytes(len(blank.PixelData))
        file_film(site.database, site.store, blank)
    indexer.drain()
    indexer.drain()
    assert site.statuses() == {1: "retired", number: "active"}
    ended = [("indexed", 2), *[("unsupported", 1)][: int(refused)]]
    assert site.rows("SELECT state, count(*) FROM instance GROUP BY 1 ORDER BY 1") == ended
    site.whole(number, 2)
    assert site.rows("SELECT DISTINCT a.model_pk, i.attempts FROM analysis a, instance i") == [(number, 1)]


def test_progress_tells_how_long_it_will_take(site: Site) -> None:
    indexer, catch_up = site.worker()
    site.file(4)
    indexer.drain()
    number = site.propose()
    assert site.do(analyses.progress, number).left_s is None
    catch_up.look()
    site.run("UPDATE analysis SET state = 'waiting', ended_at = NULL WHERE instance_pk > 2 AND model_pk = 2")
    site.run("UPDATE analysis SET ended_at = now() - interval '10 s' WHERE model_pk = 2 AND instance_pk = 1")
    found = site.do(analyses.progress, number)
    assert (found.pending, found.counts) == (2, {"indexed": 2, "waiting": 2})
    assert 10 <= (found.left_s or 0) < 30


def test_a_shadow_asks_both_and_tells_how_far_they_agree(site: Site) -> None:
    from db import findings
    from db.findings import Named

    indexer, catch_up = site.worker()
    site.file(14)
    indexer.drain()
    with pytest.raises(ModelError, match="no generation 7"):
        site.do(shadow.compare, 7, 5)
    equal = site.propose("same", 32)
    catch_up.look()
    studies = site.rows("SELECT study_instance_uid FROM study ORDER BY pk")
    for number, (uid,) in enumerate(studies):
        site.do(findings.replace, uid, [Named("a" if number < 7 else "b")])
    same = {one.anatomy.short: one for one in site.do(shadow.compare, equal, 14)}
    assert set(same) == set(PLACES)
    assert all((one.questions, one.overlap) == (14, 1.0) for one in same.values())
    assert same["CARD"].agree_now == same["CARD"].agree_then
    # another generation in which every film looks like those of its finding
    for number in range(1, 15):
        vector = np.zeros(32)
        vector[0 if number <= 7 else 1] = 1
        vector[2] = number / 100
        vector /= np.linalg.norm(vector)
        site.run(
            "UPDATE embedding SET v = CAST(:v AS halfvec) WHERE model_pk = :m AND instance_pk = :i",
            v=str(vector.tolist()), m=equal, i=number,
        )  # fmt: skip
    better = {one.anatomy.short: one for one in site.do(shadow.compare, equal, 14)}["CARD"]
    assert better.agree_then == pytest.approx(6 / 10)
    assert better.overlap < 1
    with pytest.raises(ModelError, match="already"):
        site.do(shadow.compare, 1, 5)


def test_a_worker_process_killed_while_it_builds_a_generation_is_followed_by_another(
    database: Database, tmp_path: Path
) -> None:
    import os
    import sys

    root = Path(__file__).resolve().parents[3]
    site = Site(database, FileStore(tmp_path))
    site.file(24)
    settings = {
        "REGIONMIR_DATA_DIR": str(tmp_path),
        "REGIONMIR_DATABASE_URL": database.url.set(drivername="postgresql").render_as_string(False),
        "REGIONMIR_REDIS_URL": f"redis+socket://{tmp_path}/none",
        "REGIONMIR_LEASE_S": "5",
        "REGIONMIR_BATCH_SIZE": "2",
        "REGIONMIR_GENERATION_SHARE": "1",
    }

    def start(pass_s: float) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "tests.support.fake_worker", str(pass_s), "0.2"]
        return subprocess.Popen(command, cwd=root, env={**os.environ, **settings})

    def wait_for(what: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 120
        while not what():
            assert time.monotonic() < deadline, site.rows(
                "SELECT model_pk, state, count(*) FROM analysis GROUP BY 1, 2"
            )
            time.sleep(0.1)

    def indexed(number: int) -> int:
        return int(site.rows("SELECT count(*) FROM analysis WHERE model_pk = :m AND state = 'indexed'", m=number)[0][0])

    first = start(0.5)
    try:
        wait_for(lambda: indexed(1) == 24)
        number = site.propose()
        wait_for(lambda: 0 < indexed(number) < 24)
        first.send_signal(signal.SIGKILL)
        first.wait()
        second = start(0.0)
        try:
            wait_for(lambda: site.pending(number) == 0)
            site.whole(number, 24)
            site.do(generations.activate, number)
            site.file(1, 24)
            wait_for(lambda: indexed(number) == 25)
            wait_for(lambda: indexed(1) == 25)
        finally:
            second.terminate()
            assert second.wait(60) == 0
    finally:
        first.kill()
        first.wait()
