"""`regionmir reconcile --pacs`: what differs between us and an archive, and putting it right."""

import datetime as dt
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from regionmir.admin.context import console, open_database, print_json, settings_in_force
from regionmir.core.errors import ConfigurationError, RegionMirError
from regionmir.core.identifiers import parse_ae_title

if TYPE_CHECKING:
    from db.engine import Database
    from db.pacs import Pacs
    from regionmir.core.settings import Settings
    from regionmir.pacs.comparison import Differences
    from regionmir.pacs.following import Followed

_SHOWN = 50


def reconcile_pacs(
    name: str, since: dt.date | None, until: dt.date | None, *, repair: bool, agree: bool, as_json: bool
) -> None:
    """Compare with an archive, put right what can be if `repair`, and print both. Exit code 1 where something is left.

    Raises `RegionMirError` where so much is gone there that nothing is hidden without `agree`.
    """
    from db import pacs as pacs_

    settings = settings_in_force()
    done, stopped = None, ""
    with open_database(settings) as database:
        with database.session() as session:
            pacs = pacs_.get(session, name)
        if pacs is None:
            raise RegionMirError(f"no archive has the name {name[:40]}; see `regionmir pacs list`")
        compare = _with_orthanc if pacs.kind == "orthanc" else _with_dicom
        found, fetch = compare(settings, database, pacs, since, until)
        if repair:
            stopped = _hide(settings, database, pacs, found, agree=agree)
            _want(database, pacs, found)
            done = fetch()
    _tell(name, found, done, stopped, as_json)
    if stopped:
        raise RegionMirError(f"{stopped}: none was hidden. If that is right: add --agree")
    if found.other_patient or (found.count and not repair) or (done is not None and done.failed):
        raise typer.Exit(1)


_Compared = tuple["Differences", Callable[[], "Followed"]]
"""What differs, and what fetches what is to be imported."""


def _with_orthanc(
    settings: "Settings", database: "Database", pacs: "Pacs", since: dt.date | None, until: dt.date | None
) -> _Compared:
    """Compare with an Orthanc, instance by instance."""
    from regionmir.pacs.comparison import compare_orthanc
    from regionmir.pacs.source import follower, orthanc_api

    if since or until:
        raise ConfigurationError("--since and --until are for plain DICOM archives: an Orthanc is compared whole")

    def fetch() -> "Followed":
        following = follower(settings, database, pacs)
        with closing(following.api):
            return following.import_all()

    with closing(orthanc_api(pacs)) as api, console.status("comparing ..."):
        return compare_orthanc(database, pacs, api), fetch


def _with_dicom(
    settings: "Settings", database: "Database", pacs: "Pacs", since: dt.date | None, until: dt.date | None
) -> _Compared:
    """Compare with any archive by C-FIND, study by study."""
    from db import pacs_here
    from regionmir.pacs.comparison import compare_dicom
    from regionmir.pacs.dicom import dicom_backfill

    backfill = dicom_backfill(database, pacs, parse_ae_title(settings.ae_title), settings.tls_files)
    with database.session() as session:
        known = pacs_here.dates(session, pacs.name)
    first = since or (known[0] if known else None)
    if first is None:
        raise ConfigurationError("a plain DICOM archive is asked day by day: give --since (and --until)")
    last = until or dt.datetime.now().date()
    with console.status("comparing ..."):
        return compare_dicom(database, pacs, backfill, first, last), backfill.import_waiting


def _hide(settings: "Settings", database: "Database", pacs: "Pacs", found: "Differences", *, agree: bool) -> str:
    """Hide, or delete, what is gone; return why nothing was, empty where it was."""
    from db import pacs as pacs_
    from db import pacs_here
    from regionmir.archive.removing import remove_objects
    from regionmir.storage import open_store

    deletes = settings.pacs_deleted == "delete"
    stopped = ""
    with database.session() as session:
        if found.gone:
            stopped = pacs_.gone(session, pacs.name, found.gone, agreed=agree, deletes=deletes).stopped
        if found.gone_instances and not stopped:
            hidden = pacs_here.instances_gone(session, pacs, found.gone_instances, agreed=agree, deletes=deletes)
            stopped = hidden if isinstance(hidden, str) else ""
    with closing(open_store(settings)) as store:
        remove_objects(database, store)
    return stopped


def _want(database: "Database", pacs: "Pacs", found: "Differences") -> None:
    """Let what is missing be imported."""
    from db import pacs as pacs_

    with database.session() as session:
        for uid, remote_id in (found.missing | found.incomplete).items():
            pacs_.changed(session, pacs.name, uid, remote_id)


def _tell(name: str, found: "Differences", done: "Followed | None", stopped: str, as_json: bool) -> None:
    if as_json:
        imported = asdict(done) if done else None
        print_json({"pacs": name, **asdict(found), "repair": imported, "stopped": stopped})
        return
    console.print(
        f"{name}: {found.studies} studies; {len(found.missing)} missing here, {len(found.incomplete)} incomplete "
        f"({found.missing_instances} instances), {len(found.gone)} gone there ({len(found.gone_instances)} single "
        f"instances), {len(found.other_patient)} of another patient, {found.removed_here} removed here on purpose"
    )
    for one in found.other_patient[:_SHOWN]:
        console.print(f"{one.study_instance_uid}: {one.here or '-'} here, {one.there or '-'} there", markup=False)
    if found.other_patient:
        console.print("To put these right: regionmir patient move STUDY_UID ID, or patient merge, or patient correct")
    if done is not None:
        console.print(f"{done.imported} imported ({done.instances} instances), {done.failed} failed")
