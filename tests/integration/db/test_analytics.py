"""Schema `analytics` on films whose answer is known: what each view says is true, and no patient is in any of them."""

import datetime as dt
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from db import embeddings, findings, generations, visibility
from db.engine import Database
from db.findings import Named
from regionmir.core.identifiers import AETitle
from regionmir.core.records import Caller, Disclosure, Rights
from regionmir.query.request import RegionQuery
from regionmir.query.search import search
from regionmir.web.cards import shown_reason
from tests.support.notebook import run_notebook
from tests.support.postgres import TestDatabases
from tests.support.records import PSEUDONYMIZER, element, generation
from tests.support.seed import all_found, film, seed

ROOT = Path(__file__).resolve().parents[3]
DOCUMENT, NOTEBOOK = ROOT / "docs" / "analytics.md", ROOT / "docs" / "analytics.ipynb"
DASHBOARD = ROOT / "deploy" / "grafana" / "analytics.json"
DIM, FILMS = 32, 60
FOUND = all_found(2)
FIRST = FOUND[0].short
SHIFTED = range(45, FILMS)
"""These come from another device, in another month, and look otherwise."""
OUTLIER, HIDDEN = 12, 59
NAMING = ["generation", "model", "model_version", "weights_sha256", "data_sha256"]
CALLS = [
    f"similar_regions('{{anchor}}', '{FIRST}')",
    "recall_probe()",
    f"drift('{FIRST}')",
    f"near_duplicates('{FIRST}')",
    f"outliers('{FIRST}')",
    "cohort()",
]


@dataclass(frozen=True)
class Site:
    database: Database
    vectors: npt.NDArray[np.float32]
    model_pk: int

    def rows(self, query: str, **values: Any) -> list[dict[str, Any]]:
        with self.database.session() as session:
            return [dict(row) for row in session.execute(text(query), values).mappings()]

    @property
    def names(self) -> tuple[list[str], list[str]]:
        """Return the views and the functions of the schema."""
        relations = "SELECT relname FROM pg_class WHERE relnamespace = 'analytics'::regnamespace AND relkind = 'v'"
        functions = "SELECT proname FROM pg_proc WHERE pronamespace = 'analytics'::regnamespace"
        return [r["relname"] for r in self.rows(relations)], [r["proname"] for r in self.rows(functions)]


def instance(number: int) -> str:
    return str(PSEUDONYMIZER.uid("instance", f"1.2.826.0.1.{number}.1.1"))


def known_vectors() -> npt.NDArray[np.float32]:
    """Return vectors (FILMS, 2, DIM): near one direction, SHIFTED near another, OUTLIER opposite, 5 and 6 alike."""
    rng = np.random.default_rng(7)
    drawn = rng.normal(scale=0.08, size=(FILMS, len(FOUND), DIM))
    drawn[..., 0] += 1
    drawn[list(SHIFTED), :, 1] += 0.7
    drawn[OUTLIER] = -drawn[OUTLIER]
    drawn[6] = drawn[5] + 0.001
    return np.asarray(drawn / np.linalg.norm(drawn, axis=2, keepdims=True), np.float32)


@pytest.fixture(scope="module")
def site(databases: TestDatabases) -> Iterator[Site]:
    url = databases.migrated()
    database, vectors = Database(url, application_name="test"), known_vectors()
    films = [
        film(
            n,
            vectors[n],
            patient="REALID5" if n == 6 else None,
            pixels="one film" if n in (7, 8) else "",
            t00080070=element("LO", "ACME" if n not in SHIFTED else "Other"),
            t00081090=element("LO", "One" if n % 3 else "Two"),
        )
        for n in range(FILMS)
    ]
    model_pk = seed(database, films, info=generation("known", DIM, FOUND))
    with database.session() as session:
        session.execute(text("UPDATE instance SET received_at = '2026-03-05'"))
        later = "UPDATE instance SET received_at = '2026-04-05' WHERE sop_instance_uid = ANY(:uids)"
        session.execute(text(later), {"uids": [f"1.2.826.0.1.{n}.1.1" for n in SHIFTED]})
        visibility.hide(session, [f"1.2.826.0.1.{HIDDEN}"], "test")
        for n in range(10):
            findings.replace(session, f"1.2.826.0.1.{n}", [Named("nodule", 0.9 if n < 4 else 0.4)], source="reader")
        findings.replace(session, "1.2.826.0.1.0", [Named("nodule"), Named("effusion")], source="classifier 2")
        session.execute(text("ANALYZE"))
    yield Site(database, vectors.astype(np.float16).astype(np.float64), model_pk)
    database.close()
    databases.drop(url)


def test_every_view_and_function_is_documented_and_names_model_and_data(site: Site) -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    views, functions = site.names
    assert len(views) >= 12
    for view in views:
        assert site.rows(f"SELECT obj_description('analytics.{view}'::regclass) AS said")[0]["said"], view
        assert f"`{view}`" in document, view
        columns = site.rows(f"SELECT * FROM analytics.{view} LIMIT 1")
        assert not columns or list(columns[0])[-5:] == NAMING, view
    for function in functions:
        assert site.rows(
            "SELECT obj_description(oid) AS said FROM pg_proc WHERE proname = :name "
            "AND pronamespace = 'analytics'::regnamespace",
            name=function,
        )[0]["said"], function
        assert f"`{function}(" in document, function
    for call in CALLS:
        rows = site.rows(f"SELECT * FROM analytics.{call.format(anchor=instance(1))}")
        assert rows, call
        assert list(rows[0])[-5:] == NAMING, call
        assert {row["generation"] for row in rows} == {site.model_pk}
    assert {call.split("(")[0] for call in CALLS} == set(functions) - {"header_value", "age_band"}


def test_no_patient_is_in_any_view_or_function(site: Site) -> None:
    said = ""
    for view in site.names[0]:
        said += json.dumps(site.rows(f"SELECT * FROM analytics.{view}"), default=str)
    for call in CALLS:
        said += json.dumps(site.rows(f"SELECT * FROM analytics.{call.format(anchor=instance(1))}"), default=str)
    assert instance(1) in said
    assert instance(HIDDEN) not in said
    for word in ("Canary", "REALID", "ACC", "Doe", "1.2.826", "2020-01-01", "1960-"):
        assert word not in said.replace("ACME", ""), word
    keys = re.findall(r'"(\w+)_pk"', said)
    assert not keys


def test_words_that_came_with_an_object_are_in_no_view(database: Database) -> None:
    vectors = known_vectors()
    seed(database, [film(n, vectors[n]) for n in range(3)], info=generation("known", DIM, FOUND))
    with database.session() as session:
        session.execute(text("UPDATE series SET modality = 'SMITHMOD'"))
        session.execute(text("UPDATE instance SET view = 'SMITHVIEW', reason = 'body part SMITH JOHN'"))
        session.execute(text("UPDATE analysis SET reason = 'modality SMITH'"))
    found = Site(database, vectors, 0)
    said = {view: json.dumps(found.rows(f"SELECT * FROM analytics.{view}"), default=str) for view in found.names[0]}
    assert [view for view, rows in said.items() if "SMITH" in rows] == []
    assert '"another body part"' in said["instance"]
    assert '"another body part"' in said["instances_by_state"]
    assert '"another modality"' in said["generation_progress"]


@pytest.mark.parametrize(
    "reason",
    [
        *("", "own_copy", "lateral view", "body part SMITH", "modality CT", "modality SMITH", "modality "),
        *("photometric PALETTE COLOR", "photometric YBR_ICT", "photometric SMITH", "internal error: ValueError"),
    ],
)
def test_a_reason_is_told_as_pages_tell_it(database: Database, reason: str) -> None:
    with database.session() as session:
        told = session.scalar(text("SELECT analytics_inner.shown_reason(:reason)"), {"reason": reason})
    assert told.replace("_", " ") == shown_reason(reason)


def test_dates_are_moved_and_ages_are_bands(site: Site) -> None:
    rows = site.rows("SELECT * FROM analytics.instance")
    assert len(rows) == FILMS - 1
    assert {row["age_band"] for row in rows} == {"60-64"}
    moved = {(dt.date(2020, 1, 1) - row["study_date"]).days for row in rows}
    assert min(moved) >= 1
    assert max(moved) <= 365
    assert site.rows(
        "SELECT analytics.age_band(NULL) AS a, analytics.age_band(104) AS b, analytics.age_band(4.9) AS c"
    ) == [{"a": "", "b": "90+", "c": "0-4"}]


def test_embeddings_are_counted_by_anatomy_device_and_view(site: Site) -> None:
    rows = site.rows("SELECT * FROM analytics.embeddings ORDER BY anatomy, manufacturer, device_model")
    counted = {(r["anatomy"], r["manufacturer"], r["device_model"], r["view"]): r["regions"] for r in rows}
    shown = [n for n in range(FILMS) if n != HIDDEN]
    for anatomy in FOUND:
        for maker in ("ACME", "Other"):
            for model, is_two in (("One", False), ("Two", True)):
                expected = sum((n in SHIFTED) == (maker == "Other") and (n % 3 == 0) == is_two for n in shown)
                assert counted[anatomy.short, maker, model, "PA"] == expected
    assert sum(counted.values()) == len(shown) * len(FOUND)
    coverage = site.rows("SELECT anatomy, regions, share_of_indexed FROM analytics.coverage_by_anatomy")
    assert all((row["regions"], row["share_of_indexed"]) == (FILMS, 1.0) for row in coverage)


def test_drift_is_the_distance_of_means_in_standard_deviations(site: Site) -> None:
    march, april = site.rows(f"SELECT * FROM analytics.drift_by_month WHERE anatomy = '{FIRST}' ORDER BY month")
    vectors = site.vectors[:, 0]
    inside = np.isin(np.arange(FILMS), list(SHIFTED))
    mean = vectors.mean(axis=0)
    expected = np.linalg.norm(vectors[inside].mean(axis=0) - vectors[~inside].mean(axis=0)) / np.sqrt(1 - mean @ mean)
    assert (march["month"], april["month"]) == (dt.date(2026, 3, 1), dt.date(2026, 4, 1))
    assert (march["regions"], april["regions"]) == (45, 15)
    for row in (march, april):
        assert row["centroid_shift"] == pytest.approx(expected, rel=1e-3)
        assert row["shift_by_chance"] == pytest.approx(np.sqrt(1 / 15 + 1 / 45))
        assert row["mmd2"] > 0.1


def test_a_device_that_looks_otherwise_drifts_more_than_others(site: Site) -> None:
    rows = {r["device"]: r for r in site.rows(f"SELECT * FROM analytics.drift('{FIRST}', 'device')")}
    assert set(rows) == {"ACME One", "ACME Two", "Other One", "Other Two"}
    for device in ("Other One", "Other Two"):
        assert rows[device]["centroid_shift"] > 1.5 * rows[device]["shift_by_chance"]
        assert rows[device]["mmd2"] > 2 * abs(rows["ACME Two"]["mmd2"])
    with pytest.raises(DBAPIError, match="by month or by device"):
        site.rows(f"SELECT * FROM analytics.drift('{FIRST}', 'patient')")


def test_duplicates_are_found_by_pixels_and_by_likeness(site: Site) -> None:
    (double,) = site.rows("SELECT * FROM analytics.exact_duplicates")
    assert (double["instances"], double["patients"]) == (2, 2)
    assert double["instance_list"] == sorted([instance(7), instance(8)])
    pairs = site.rows(f"SELECT * FROM analytics.near_duplicates('{FIRST}', 0.9999)")
    assert [{p["instance"], p["other_instance"]} for p in pairs] == [{instance(5), instance(6)}]
    assert pairs[0]["same_patient"]
    assert not pairs[0]["same_pixels"]


def test_the_film_that_looks_like_no_other_is_the_first_outlier(site: Site) -> None:
    first, second, *_ = site.rows(f"SELECT * FROM analytics.outliers('{FIRST}', 5)")
    assert first["instance"] == instance(OUTLIER)
    assert first["similarity_to_mean"] < 0 < second["similarity_to_mean"]
    assert first["standard_deviations"] > 4


def test_similar_regions_are_those_of_a_pseudonymous_query(site: Site) -> None:
    caller = Caller(AETitle("X"), "127.0.0.1", Rights(), Disclosure.PSEUDONYMOUS, registered=False)
    asked = RegionQuery(anchor=instance(1), anatomies=(FOUND[0],), k=10)
    with site.database.session() as session:
        answer = search(session, asked, caller, keep=False)
        keys = text("SELECT instance_pk, instance FROM analytics_inner.film_key")
        names = dict(session.execute(keys).all())
    rows = site.rows(f"SELECT * FROM analytics.similar_regions('{instance(1)}', '{FIRST}', 10)")
    assert [r["instance"] for r in rows] == [names[hit.instance_pk] for hit in answer.hits]
    assert [r["similarity"] for r in rows] == pytest.approx([hit.similarity for hit in answer.hits])
    assert [r["rank"] for r in rows] == list(range(1, 11))
    own = site.rows(f"SELECT * FROM analytics.similar_regions('{instance(5)}', '{FIRST}', 50)")
    assert instance(6) not in {row["instance"] for row in own}


def test_similar_regions_are_none_of_a_patient_whose_issuer_is_sometimes_missing(database: Database) -> None:
    whose = [("4711", ""), ("4711", "HOSPITAL"), ("4711", "OTHER"), ("4712", ""), ("", ""), ("", "")]
    vectors, films = known_vectors(), []
    for n, (patient_id, issuer) in enumerate(whose):
        one = film(n, vectors[n])
        films.append(replace(one, header=replace(one.header, patient_id=patient_id, issuer_of_patient_id=issuer)))
    site = Site(database, vectors, seed(database, films, info=generation("known", DIM, FOUND)))
    for anchor, others in ((0, {3, 4, 5}), (1, {2, 3, 4, 5}), (2, {1, 3, 4, 5}), (4, {0, 1, 2, 3, 5})):
        rows = site.rows(f"SELECT instance FROM analytics.similar_regions('{instance(anchor)}', '{FIRST}', 10)")
        assert {row["instance"] for row in rows} == set(map(instance, others)), anchor


@pytest.mark.parametrize(("anchor", "anatomy"), [("1.2.826.0.1.1.1.1", FIRST), (instance(1), "NOWHERE")])
def test_similar_regions_of_what_is_not_there_are_refused(site: Site, anchor: str, anatomy: str) -> None:
    with pytest.raises(DBAPIError, match=r"not found|has no embeddings"):
        site.rows("SELECT * FROM analytics.similar_regions(:anchor, :anatomy)", anchor=anchor, anatomy=anatomy)


def test_the_recall_probe_compares_searches_with_comparing_all(site: Site) -> None:
    rows = site.rows("SELECT * FROM analytics.recall_probe(NULL, 10, 15)")
    assert [(r["anatomy"], r["regions"], r["has_index"], r["queries"]) for r in rows] == [
        (anatomy.short, FILMS, False, 15) for anatomy in FOUND
    ]
    assert all((r["recall"], r["recall_by_id"]) == (1.0, 1.0) and r["p95_ms"] > 0 for r in rows)
    embeddings.ensure_ann_indexes(site.database, threshold=FILMS)
    (indexed,) = site.rows(f"SELECT * FROM analytics.recall_probe('{FIRST}')")
    assert indexed["has_index"]
    assert 0.9 <= indexed["recall"] <= 1.0


def test_a_cohort_is_what_passes_every_condition(site: Site) -> None:
    def count(conditions: str) -> int:
        return len(site.rows(f"SELECT * FROM analytics.cohort({conditions})"))

    assert count("") == FILMS - 1
    assert count("with_label => 'Nodule'") == 10
    assert count("with_label => 'nodule', min_confidence => 0.5") == 4
    assert count("of_manufacturer => 'Other', of_device_model => 'Two'") == sum(
        n % 3 == 0 for n in SHIFTED if n != HIDDEN
    )
    assert count("age_from => 60, age_to => 60, with_sex => 'F', with_view => 'PA', with_modality => 'CR'") == FILMS - 1
    assert count("age_from => 65") == 0
    assert count("date_from => '2020-01-01'") == 0
    assert count(f"with_anatomy => '{FIRST}'") == FILMS - 1
    assert count("with_anatomy => 'nowhere'") == 0


def test_labels_tell_who_named_them_and_how_sure(site: Site) -> None:
    rows = site.rows("SELECT * FROM analytics.labels_by_source ORDER BY label, source")
    told = [(r["label"], r["source"], r["studies"], r["with_confidence"], r["named_by_another"]) for r in rows]
    assert told == [
        ("effusion", "classifier 2", 1, 0, 0),
        ("nodule", "classifier 2", 1, 0, 1),
        ("nodule", "reader", 10, 10, 1),
    ]
    assert rows[2]["mean_confidence"] == pytest.approx((4 * 0.9 + 6 * 0.4) / 10)
    study = str(PSEUDONYMIZER.uid("study", "1.2.826.0.1.0"))
    of_study = site.rows("SELECT label, source FROM analytics.labels WHERE study = :study", study=study)
    assert len(of_study) == 3


def test_the_data_hash_names_the_films_that_a_generation_has_indexed(database: Database) -> None:
    def told() -> dict[str, tuple[int, str]]:
        with database.session() as session:
            lines = session.execute(text("SELECT model, films, data_sha256 FROM analytics.generation"))
            return {model: (films, digest) for model, films, digest in lines}

    films = [film(n, known_vectors()[n], pixels=f"pixels {n}") for n in range(3)]
    seed(database, films[:2], info=generation("one", DIM, FOUND))
    with database.session() as session:
        generations.ensure_model(session, generation("empty", DIM, FOUND))
    two = told()
    assert two["one"][0] == 2
    assert two["empty"][0] == 0
    assert two["one"][1] != two["empty"][1]
    seed(database, films[2:], info=generation("one", DIM, FOUND))
    three = told()
    assert three["one"][0] == 3
    assert three["one"][1] != two["one"][1]
    with database.session() as session:
        session.execute(text("UPDATE instance SET pixel_sha256 = 'other' WHERE pixel_sha256 = 'pixels 0'"))
    assert told()["one"][1] not in (three["one"][1], two["one"][1])
    with database.session() as session:
        session.execute(text("UPDATE instance SET pixel_sha256 = 'pixels 0' WHERE pixel_sha256 = 'other'"))
    assert told() == three


def test_the_notebook_draws_what_the_views_tell(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "Agg")
    url = site.database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    monkeypatch.setenv("REGIONMIR_ANALYTICS_URL", url)
    from matplotlib import pyplot

    said = run_notebook(NOTEBOOK)
    drawn = [pyplot.figure(number).axes[0] for number in pyplot.get_fignums()]
    assert len(drawn) == 4
    assert all(axes.patches or axes.lines for axes in drawn)
    pyplot.close("all")
    assert f"known 1 on {FILMS} films" in said
    assert "Other" in said
    assert instance(OUTLIER) in said


def test_every_query_of_the_dashboard_runs_and_gives_rows(site: Site) -> None:
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    queries = [target["rawSql"] for panel in dashboard["panels"] for target in panel["targets"]]
    queries += [variable["query"] for variable in dashboard["templating"]["list"]]
    assert len(queries) >= 10
    for query in queries:
        query = re.sub(r"\$__timeFilter\((\w+)\)", r"\1 > '2000-01-01'", query.replace("${anatomy}", FIRST))
        assert site.rows(query) or "queries_by_day" in query, query
