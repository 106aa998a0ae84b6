"""Reducing and removing objects by the rules, safely while everything runs.

First the row says what is kept and that the old object is to go, with the audit event, in one transaction; the file
goes afterwards, when no backup copies objects and nobody speaks of it. So an interruption loses nothing and leaves
nothing behind for ever.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import structlog

from db import audit, objects, removals, retention
from db.engine import Database, Session
from db.retention import Due, Rule, Terms
from db.snapshot import may_remove_objects
from regionmir.core.audit_events import Endpoint, Study, instances_accessed
from regionmir.core.audit_message import Action
from regionmir.core.errors import NotIndexable
from regionmir.core.keeping import Kept
from regionmir.core.records import StoredObject
from regionmir.core.settings import Settings
from regionmir.pixels.guarded import content_sha256
from regionmir.pixels.reduce import REDUCED_SYNTAX, reduced_copy
from regionmir.storage import FileStore
from regionmir.storage.part10 import HEAD_BYTES, dataset_offset

ACTOR = "retention"

_AT_ONCE = 50
"""Files that go while a backup that begins would wait."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Report:
    """What a run did, or would do. `left`: objects that no reduced copy can be made of; they stay as they are."""

    reduced: int = 0
    removed: int = 0
    bytes: int = 0
    left: int = 0
    queries: int = 0
    files: int = 0
    """Files that went; with those of earlier runs."""
    postponed: bool = False
    """No file went: a backup copies objects."""
    by_rule: dict[str, int] = field(default_factory=dict)

    def count(self, one: Due) -> None:
        if one.to is Kept.REDUCED:
            self.reduced += 1
        else:
            self.removed += 1
        self.bytes += one.size_bytes
        self.by_rule[one.rule.value] = self.by_rule.get(one.rule.value, 0) + 1


def terms_of(settings: Settings) -> Terms:
    """Return the rules of the settings."""
    return Terms(
        storage=settings.storage_policy,
        days=settings.retention_days,
        hidden_days=settings.retention_hidden_days,
        versions_days=settings.retention_versions_days,
        query_log_days=settings.retention_query_log_days,
    )


@dataclass(frozen=True, slots=True)
class Retention:
    """Applies the rules. `stopping`: True ends a run after the study at hand."""

    database: Database
    store: FileStore
    terms: Terms
    max_pixels: int
    stopping: Callable[[], bool] = lambda: False

    def run(self) -> Report:
        """Apply every rule once and return what was done. Raises `Transient`; what was done stays done."""
        report = Report()
        for study in self._studies():
            if self.stopping():
                return report
            self._apply(study, report)
        with self.database.session() as session:
            report.queries = retention.forget_queries(session, self.terms.query_log_days)
        self.remove_files(report)
        if report.reduced or report.removed or report.queries:
            log.info("retention rules applied", reduced=report.reduced, removed=report.removed, queries=report.queries)
        return report

    def rehearse(self) -> Report:
        """Return what `run` would do; nothing is changed."""
        report = Report()
        for study in self._studies():
            for one in study:
                report.count(one)
        with self.database.session() as session:
            report.queries = retention.count_queries(session, self.terms.query_log_days)
            report.files = len(removals.waiting(session))
        return report

    def remove_files(self, report: Report | None = None) -> Report:
        """Remove the files of objects that wait for it (`db.removals`), whoever asked for that.

        In portions, each in a transaction of its own: a backup that begins gets its turn after the one at hand.
        """
        report = report or Report()
        for portion in (self._sweep, self._remove):
            after, more = "", True
            while more and not self.stopping():
                with self.database.session() as session:
                    if not may_remove_objects(session):
                        report.postponed = True
                        return report
                    after = portion(session, after, report)
                more = after != ""
        return report

    def _sweep(self, _session: Session, after: str, _report: Report) -> str:
        return self.store.sweep_removed(self._is_wanted, self.terms.settle_s, after)

    def _remove(self, session: Session, after: str, report: Report) -> str:
        waiting = removals.waiting(session, after=after, limit=_AT_ONCE)
        removals.done(session, [key for key in waiting if self._is_gone(key, report)])
        return waiting[-1] if waiting else ""

    def _is_gone(self, key: str, report: Report) -> bool:
        """Remove one file; True where there is nothing left to do for it."""
        if self._is_wanted(key):
            return True
        there = self.store.exists(key)
        if not self.store.remove(key, self.terms.settle_s, self._is_wanted):
            return False
        report.files += there
        return True

    def _is_wanted(self, key: str) -> bool:
        with self.database.session() as session:
            return objects.is_expected(session, key)

    def _studies(self) -> Iterator[list[Due]]:
        """Yield what is due, the instances of one study together."""
        after = (0, 0)
        while found := self._due(after):
            for _, study in groupby(found, key=lambda one: one.study_pk):
                yield list(study)
            after = (found[-1].study_pk, found[-1].pk)
        version = 0
        while versions := self._due_versions(version):
            for _, study in groupby(versions, key=lambda one: one.study_instance_uid):
                yield list(study)
            version = versions[-1].pk

    def _due(self, after: tuple[int, int]) -> list[Due]:
        with self.database.session() as session:
            return retention.due(session, self.terms, after=after)

    def _due_versions(self, after: int) -> list[Due]:
        with self.database.session() as session:
            return retention.due_versions(session, self.terms, after=after)

    def _apply(self, study: Sequence[Due], report: Report) -> None:
        """Reduce or remove the objects of one study, and write it down."""
        made = {one.pk: self._copy(one) for one in study if one.to is Kept.REDUCED}
        contents = {one.pk: self._content(one) for one in study if one.to is Kept.NOTHING or made[one.pk] is not None}
        done = []
        with self.database.session() as session:
            for one in study:
                stored = made.get(one.pk)
                if one.to is Kept.REDUCED and stored is None:
                    report.left += 1
                elif retention.reduce(session, one, stored, contents[one.pk]):
                    done.append(one)
            for rule in dict.fromkeys(one.rule for one in done):
                _record(session, rule, [one for one in done if one.rule is rule])
        for one in done:
            report.count(one)

    def _content(self, one: Due) -> str | None:
        """Return by what a current instance will be known again, None where it was asked before or cannot be read."""
        if one.kept is not Kept.OBJECT or one.rule is Rule.VERSION:
            return None
        try:
            return content_sha256(self.store.path(one.storage_key))
        except OSError:
            return None

    def _copy(self, one: Due) -> StoredObject | None:
        """Return the reduced copy, durably stored; None where none can be made."""
        try:
            content = reduced_copy(self.store.path(one.storage_key), max_pixels=self.max_pixels)
        except (NotIndexable, OSError) as error:
            log.info("not reduced", sop_instance_uid=one.sop_instance_uid, why=type(error).__name__)
            return None
        return _kept(self.store, one, content)


def _kept(store: FileStore, one: Due, content: bytes) -> StoredObject:
    """Store a Part 10 file. Raises `StorageFull`, `StorageUnavailable`."""
    incoming = store.receive(
        sop_class_uid=one.sop_class_uid,
        sop_instance_uid=one.sop_instance_uid,
        transfer_syntax_uid=REDUCED_SYNTAX,
        source_ae=one.source_ae,
    )
    try:
        incoming.write(memoryview(content)[dataset_offset(content[:HEAD_BYTES]) :])
        return store.keep(incoming)
    finally:
        incoming.abandon()


def _record(session: Session, rule: Rule, done: Sequence[Due]) -> None:
    """Write down what was done with objects of one study by one rule."""
    first = done[0]
    classes: dict[str, int] = {}
    for one in done:
        if one.sop_class_uid:
            classes[one.sop_class_uid] = classes.get(one.sop_class_uid, 0) + 1
    detail = {
        "study": first.study_instance_uid,
        "rule": rule.value,
        "kept": first.to.value,
        "instances": [one.sop_instance_uid for one in done],
    }
    who = Endpoint(ACTOR, is_ae=False)
    action = Action.DELETE if first.to is Kept.NOTHING else Action.UPDATE
    message = instances_accessed(who, first.patient_id, [Study(first.study_instance_uid, classes)], action)
    audit.record(session, "objects reduced", actor=ACTOR, address="", detail=detail, message=message)
