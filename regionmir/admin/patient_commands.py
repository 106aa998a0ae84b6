"""`regionmir patient`: patients put right, who are two and should be one, or have a wrong ID, name or birth date."""

import datetime as dt
import getpass
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from regionmir.admin.context import JSON, open_database, print_json, settings_in_force
from regionmir.admin.delete_commands import DRY_RUN, REASON, YES, confirm, known_patient
from regionmir.core.errors import ConfigurationError, RegionMirError
from regionmir.core.identifiers import parse_uid

if TYPE_CHECKING:
    from db.patients import By, KnownPatient, PutRight

app = typer.Typer(no_args_is_help=True, help="Patients put right: merged, corrected, a study moved to another one.")

_ISSUER = typer.Option(None, help="Issuer of the PatientID; needed where two issuers gave the same.")
_SEXES = ("F", "M", "O")


@app.command()
def merge(
    old: str = typer.Argument(metavar="OLD", help="PatientID that is given up."),
    new: str = typer.Argument(metavar="NEW", help="PatientID that stays."),
    old_issuer: str | None = _ISSUER,
    new_issuer: str | None = _ISSUER,
    reason: str = REASON,
    yes: bool = YES,
    dry_run: bool = DRY_RUN,
    as_json: bool = JSON,
) -> None:
    """Make two patients one. What is sent under the old PatientID from now on is filed under the new one.

    Example: regionmir patient merge 4711 P-004711 --reason "same person, RIS message A40"
    """
    from db import patients

    with open_database(settings_in_force()) as database, database.session() as session:
        gone, kept = known_patient(session, old, old_issuer), known_patient(session, new, new_issuer)
        if gone.pk == kept.pk:
            raise ConfigurationError("OLD and NEW are the same patient")
        if _only_told(gone, dry_run, as_json):
            return
        confirm(f"Make {gone.studies} studies those of another patient?", yes=yes, as_json=as_json)
        done = patients.merge(session, gone.pk, kept.pk, _by(reason))
    _tell(done, as_json)


@app.command()
def correct(
    patient_id: str = typer.Argument(metavar="ID", help="PatientID as it is here."),
    issuer: str | None = _ISSUER,
    new_id: str | None = typer.Option(None, help="The right PatientID."),
    new_issuer: str | None = typer.Option(None, help="The right issuer of the PatientID."),
    name: str | None = typer.Option(None, help="The right name: Family^Given."),
    birth_date: dt.datetime | None = typer.Option(None, formats=["%Y-%m-%d", "%Y%m%d"], help="The right birth date."),
    sex: str | None = typer.Option(None, help="The right sex: F, M or O."),
    reason: str = REASON,
    yes: bool = YES,
    dry_run: bool = DRY_RUN,
    as_json: bool = JSON,
) -> None:
    """Correct what a patient is called. Objects stay as they came and leave with the right values.

    Example: regionmir patient correct 4711 --name Doe^Jane --birth-date 1960-01-31 --reason "typing error"
    """
    from db import patients

    if sex is not None and sex.upper() not in _SEXES:
        raise ConfigurationError(f"--sex is one of {', '.join(_SEXES)}")
    day = birth_date.date() if birth_date else None
    changes = patients.Changes(new_id, new_issuer, name, day, sex.upper() if sex else None)
    if changes == patients.Changes():
        raise ConfigurationError("say what is to be corrected: --new-id, --name, --birth-date, --sex")
    with open_database(settings_in_force()) as database, database.session() as session:
        found = known_patient(session, patient_id, issuer)
        if _only_told(found, dry_run, as_json):
            return
        confirm(f"Correct the patient of {found.studies} studies?", yes=yes, as_json=as_json)
        done = patients.correct(session, found.pk, changes, _by(reason))
    _tell(done, as_json)


@app.command()
def move(
    study: str = typer.Argument(metavar="STUDY_UID", help="Study Instance UID."),
    to: str = typer.Argument(metavar="ID", help="PatientID of whom it really is of."),
    issuer: str | None = _ISSUER,
    name: str | None = typer.Option(None, help="Name of the patient; needed where nothing of them is here yet."),
    reason: str = REASON,
    yes: bool = YES,
    dry_run: bool = DRY_RUN,
    as_json: bool = JSON,
) -> None:
    """Make a study another patient's, such as one made under the wrong worklist entry.

    Example: regionmir patient move 1.2.840.113619.2.5.1762583153.215519 4712 --reason "wrong worklist entry"
    """
    from db import patients

    uid = parse_uid(study)
    settings = settings_in_force()
    with open_database(settings) as database, database.session() as session:
        owner = patients.of_study(session, uid)
        if owner is None:
            raise RegionMirError(f"no study has the UID {uid}")
        if _only_told(owner, dry_run, as_json):
            return
        confirm("Make this study another patient's?", yes=yes, as_json=as_json)
        if patients.find(session, to, issuer) or name is None:
            to_pk = known_patient(session, to, issuer).pk
        else:
            to_pk = patients.add(session, to, issuer or "", name, settings.pseudonymizer())
        done = patients.move(session, uid, to_pk, _by(reason))
    _tell(done, as_json)


def _by(reason: str) -> "By":
    from db.patients import By

    return By(getpass.getuser(), reason)


def _only_told(found: "KnownPatient", dry_run: bool, as_json: bool) -> bool:
    """Say what would change, if that is all that is wanted, and return whether it is."""
    if dry_run and as_json:
        print_json({"dry_run": True, "studies": found.studies, "now": _shown(found)})
    elif dry_run:
        typer.echo(f"would change: a patient of {found.studies} studies")
    return dry_run


def _shown(found: "KnownPatient") -> dict[str, Any]:
    return asdict(found.values)


def _tell(done: "PutRight", as_json: bool) -> None:
    if as_json:
        print_json({"dry_run": False, **asdict(done)})
    else:
        typer.echo(f"{done.studies} studies ({done.instances} instances), now of {done.patient_pseudonym}")
