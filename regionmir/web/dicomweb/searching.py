"""QIDO-RS: studies, series and instances by the matching that C-FIND does; in a scope, the studies similar to one."""

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from pydicom.dataset import Dataset
from starlette.responses import Response

from db.engine import Session
from db.find import FindRow, Level, find
from db.result_sets import normal_code
from regionmir.archive.errors import NotAuthorized
from regionmir.archive.similar import explanation_uid, find_similar, refused
from regionmir.core.anatomy import ALL_REGIONS_AE
from regionmir.core.errors import QueryRefused
from regionmir.core.records import Caller
from regionmir.query import trail
from regionmir.query.anchor import unknown_anchor
from regionmir.query.answers import answer, explanation, hit_extra
from regionmir.query.keys import Keys
from regionmir.query.matching import STUDY_INSTANCE_UID, UNIQUE_KEYS, FindRequest, Root, read_request
from regionmir.query.narrowing import narrowing, without_filters
from regionmir.query.request import Token, expression_tag, parse_token, without_expressions
from regionmir.web.caller import CallerOf
from regionmir.web.dicomweb import audit as web_audit
from regionmir.web.dicomweb.accept import accepted, agree
from regionmir.web.dicomweb.model import element_model
from regionmir.web.dicomweb.problems import BadRequest, NotAcceptable
from regionmir.web.dicomweb.service import Service, ServiceOf, base_url, in_similar_scope, path_uid
from regionmir.web.dicomweb.tables import DICOM_JSON, JSON
from regionmir.web.dicomweb.url_query import UrlQuery, read_url

router = APIRouter()

_RETRIEVE_URL: Final = "00081190"
_NOT_OF_QIDO: Final = frozenset({"00080005", "00080052"})
"""Of the Identifier of a C-FIND only: its character set (JSON has one), its level."""

_ANCHOR = re.compile(r"[^\s*?\\^#=]{1,64}")
_REGIONS = re.compile(r"[A-Za-z0-9]{1,8}(?:[+,][A-Za-z0-9]{1,8}){0,28}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Scope:
    """The part of the service that a URL is of: all of it, `/sim`, or what is similar to one region."""

    similar: bool = False
    expression: str = ""
    """`SIM <anchor> <region>`, where the URL names them."""


@dataclass(frozen=True, slots=True)
class Found:
    """Answers to a search, and what is to be said beside them."""

    rows: list[Dataset]
    warnings: tuple[str, ...] = ()


def _scope(request: Request) -> Scope:
    """Return the scope of a request. Raises `BadRequest` where its anchor or regions are none."""
    named = request.path_params
    if "anchor" not in named:
        return Scope(similar=in_similar_scope(request))
    if not _ANCHOR.fullmatch(named["anchor"]) or not _REGIONS.fullmatch(named["region"]):
        raise BadRequest("the scope is /sim/{anchor}/{region}, for example /sim/4711/LLLZ")
    return Scope(True, f"SIM {named['anchor']} {named['region'].upper()}")


ScopeOf = Annotated[Scope, Depends(_scope)]


@router.get("/studies")
def studies(request: Request, service: ServiceOf, caller: CallerOf, scope: ScopeOf) -> Response:
    """Search for studies; in a similarity scope, the hits in the order of their ranks."""
    query = _read(request, Level.STUDY, {}, caller)
    if scope.expression:
        return _answered(request, Level.STUDY, _scoped(service, caller, scope.expression, query))
    if scope.similar:
        return _answered(request, Level.STUDY, _typed(service, caller, query))
    return _answered(request, Level.STUDY, _matching(service, caller, query))


@router.get("/series")
def series(request: Request, service: ServiceOf, caller: CallerOf, scope: ScopeOf) -> Response:
    """Search for series of all studies."""
    return _below(request, service, caller, scope, Level.SERIES, {})


@router.get("/instances")
def instances(request: Request, service: ServiceOf, caller: CallerOf, scope: ScopeOf) -> Response:
    """Search for instances of all studies."""
    return _below(request, service, caller, scope, Level.IMAGE, {})


@router.get("/studies/{study}/series")
def series_of_study(request: Request, service: ServiceOf, caller: CallerOf, scope: ScopeOf, study: str) -> Response:
    """Search for the series of a study."""
    return _below(request, service, caller, scope, Level.SERIES, {Level.STUDY: study})


@router.get("/studies/{study}/instances")
def instances_of_study(request: Request, service: ServiceOf, caller: CallerOf, scope: ScopeOf, study: str) -> Response:
    """Search for the instances of a study."""
    return _below(request, service, caller, scope, Level.IMAGE, {Level.STUDY: study})


@router.get("/studies/{study}/series/{series}/instances")
def instances_of_series(
    request: Request, service: ServiceOf, caller: CallerOf, scope: ScopeOf, study: str, series: str
) -> Response:
    """Search for the instances of a series."""
    return _below(request, service, caller, scope, Level.IMAGE, {Level.STUDY: study, Level.SERIES: series})


def _below(
    request: Request, service: Service, caller: Caller, scope: Scope, level: Level, named: Mapping[Level, str]
) -> Response:
    """Answer below studies: the same in every scope, from the UIDs alone."""
    query = _read(request, level, {UNIQUE_KEYS[one]: path_uid(uid) for one, uid in named.items()}, caller)
    if scope.similar:
        query = replace(query, keys=without_expressions(query.keys))
    return _answered(request, level, _matching(service, caller, query))


def _read(request: Request, level: Level, named: Mapping[str, str], caller: Caller) -> UrlQuery:
    """Return the query. Raises `NotAcceptable`, `BadRequest`, `InvalidKey`."""
    if not agree(accepted(request), (DICOM_JSON, JSON), parts=False, alone=True):
        raise NotAcceptable(DICOM_JSON)
    query = read_url(request.query_params.multi_items(), level, named, caller.disclosure)
    return replace(query, url=str(request.url))


def _matching(service: Service, caller: Caller, query: UrlQuery) -> Found:
    """Return what matches, at most `find_cap` at once. Raises `NotAuthorized`."""
    if not caller.rights.find:
        raise NotAuthorized("to search, sign in or send a token with the scope read")
    archive, started = service.archive, time.perf_counter()
    request = read_request(query.keys, Root.STUDY, caller.disclosure, relational=True)
    cap = archive.settings.find_cap
    most = cap if query.limit is None else min(query.limit, cap)
    rows: list[FindRow] = []
    with archive.database.session() as session:
        if not request.matches_nothing and most:
            rows = list(find(session, request.spec(limit=most + 1, offset=query.offset)))
        web_audit.searched(session, service, caller, query.url)
        duration_ms = (time.perf_counter() - started) * 1000
        trail.record_find(session, caller, hits=len(rows[:most]), duration_ms=duration_ms)
    warnings = query.warnings
    if len(rows) > most and (query.limit is None or query.limit > cap):
        warnings += ("There are additional results that can be requested; use limit and offset.",)
    if request.ignored:
        warnings += ("These attributes are not matched: " + ", ".join(request.ignored) + ".",)
    return Found([_row(service, request, row) for row in rows[:most]], warnings)


def _row(service: Service, request: FindRequest, row: FindRow, extra: dict[str, str] | None = None) -> Dataset:
    return answer(request, row, retrieve_ae=service.archive.settings.ae_title, extra=extra)


def _typed(service: Service, caller: Caller, query: UrlQuery) -> Found:
    """Answer at `/sim`: where a key holds a search expression its hits, else ordinary matching.

    A refused expression is a row that says why, as people who type into a viewer's search field see no statuses.
    Raises `NotAuthorized`.
    """
    plain = without_expressions(query.keys)
    request = read_request(query.keys, Root.STUDY, caller.disclosure, relational=True)
    try:
        tag = expression_tag(query.keys, request, ALL_REGIONS_AE)
        if tag is None:
            return _matching(service, caller, query)
        token = parse_token(query.keys.text(tag), ALL_REGIONS_AE)
        return _hits(service, caller, query, plain, token)
    except QueryRefused as error:
        status = refused(service.archive, caller, error)
        request = read_request(without_filters(plain), Root.STUDY, caller.disclosure, relational=True)
        uid = explanation_uid(service.archive, status)
        own = service.archive.settings.ae_title
        row = explanation(request, f"{status:04X}", str(error), uid=uid, retrieve_ae=own)
        return Found([row], (*query.warnings, f"The search failed: {error}."))


def _scoped(service: Service, caller: Caller, expression: str, query: UrlQuery) -> Found:
    """Answer at `/sim/{anchor}/{region}`: the hits; a study that is named by its UID and is none, as it is.

    Raises `NotAuthorized`.
    """
    plain = without_expressions(query.keys)
    try:
        found = _hits(service, caller, query, plain, parse_token(expression, ALL_REGIONS_AE))
    except QueryRefused as error:
        refused(service.archive, caller, error)
        raise
    if found.rows or not plain.text(STUDY_INSTANCE_UID):
        return found
    return _matching(service, caller, replace(query, keys=plain))


def _hits(service: Service, caller: Caller, query: UrlQuery, plain: Keys, token: Token) -> Found:
    """Return the hits by rank. Filters narrow the search; other keys are matched among its hits.

    Raises `QueryRefused` and `NotAuthorized`; whoever may not see what a code stands for has guessed at it.
    """
    narrow = () if token.rank is not None else narrowing(query.keys, caller.disclosure)
    keys = plain if token.rank is not None else without_filters(plain)
    request = read_request(keys, Root.STUDY, caller.disclosure, relational=True)

    def audited(session: Session) -> None:
        web_audit.searched(session, service, caller, query.url)

    try:
        found = find_similar(service.archive, caller, request, token, narrow, audited)
    except NotAuthorized:
        if normal_code(token.anchor):
            refused(service.archive, caller, unknown_anchor())
        raise
    rows = [
        _row(service, request, found.rows[hit.study_pk], hit_extra(found.answer, hit))
        for hit in found.answer.hits
        if hit.study_pk in found.rows
    ]
    end = None if query.limit is None else query.offset + query.limit
    return Found(rows[query.offset : end], query.warnings)


def _answered(request: Request, level: Level, found: Found) -> Response:
    """Return the answers as JSON, or 204 where nothing matches (PS3.18 10.6.3.1)."""
    headers = {"Warning": ", ".join(f'299 RegionMIR "{_quotable(text)}"' for text in found.warnings)}
    headers = headers if found.warnings else {}
    if not found.rows:
        return Response(None, 204, headers)
    base = base_url(request)
    body = [_model(row, level, base) for row in found.rows]
    return Response(json.dumps(body, ensure_ascii=False, allow_nan=False), 200, headers, DICOM_JSON)


def _quotable(text: str) -> str:
    return "".join(c for c in text if " " <= c <= "~" and c not in '"\\')


def _model(row: Dataset, level: Level, base: str) -> dict[str, Any]:
    """Return one answer as QIDO-RS has it: with the address of what it is of."""
    made = {f"{element.tag:08X}": element_model(element) for element in row}
    names = ("studies", "series", "instances")
    uids = [
        str(row[int(UNIQUE_KEYS[one], 16)].value) for one in (Level.STUDY, Level.SERIES, Level.IMAGE)[: level.depth]
    ]
    path = "".join(f"/{name}/{uid}" for name, uid in zip(names, uids, strict=False))
    made[_RETRIEVE_URL] = {"vr": "UR", "Value": [base + path]}
    return dict(sorted((tag, element) for tag, element in made.items() if tag not in _NOT_OF_QIDO))
