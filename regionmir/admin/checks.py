"""The checks behind `regionmir doctor`: each returns findings, none raises, none changes anything."""

import os
import platform
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from importlib import metadata
from pathlib import Path

from dicom_node import processes
from regionmir.admin import database_checks, running
from regionmir.admin.findings import Finding, Level
from regionmir.admin.ports import why_not_free
from regionmir.admin.postgres_binaries import find_binaries
from regionmir.admin.redis_server import find_server, server_version
from regionmir.admin.web_checks import web_access
from regionmir.core.errors import ConfigurationError, RegionMirError
from regionmir.core.settings import Settings
from regionmir.monitoring.exporter import metrics_ports

EXTRAS = ("node", "worker", "web")
_GIB = 2**30
_LITTLE_DISK, _HARDLY_ANY_DISK = 10 * _GIB, 1 * _GIB
_OLD_REDIS = (7,)
_MINIMUM_POSTGRESQL = 160_000
_MINIMUM_PGVECTOR = (0, 8, 4)
_COMPRESSED = (
    "DeflatedExplicitVRLittleEndian",
    "RLELossless",
    "JPEGBaseline8Bit",
    "JPEGExtended12Bit",
    "JPEGLossless",
    "JPEGLosslessSV1",
    "JPEGLSLossless",
    "JPEGLSNearLossless",
    "JPEG2000Lossless",
    "JPEG2000",
    "HTJ2KLossless",
    "HTJ2KLosslessRPCL",
    "HTJ2K",
)
_REQUIREMENT = re.compile(
    r"^(?P<name>[\w.-]+)(?:\[[^]]*])?(?:==(?P<version>[^\s;]+))?(?:.*extra == ['\"](?P<extra>\w+)['\"])?"
)


def all_checks(settings: Settings, *, with_model: bool = True) -> Iterator[Finding]:
    """Yield the findings of every check, one after the other as they are made."""
    checks: list[Callable[[], Iterable[Finding]]] = [
        _python,
        _packages,
        _decoders,
        lambda: _data_folder(settings),
        lambda: _postgresql(settings),
        lambda: _redis(settings),
        lambda: _ports(settings),
        lambda: web_access(settings),
        lambda: _model(settings) if with_model else [],
        lambda: _peers(settings),
    ]
    for check in checks:
        yield from check()


def _python() -> Iterator[Finding]:
    yield Finding(Level.OK, "Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def _packages() -> Iterator[Finding]:
    """Compare what is installed with what our own metadata pin."""
    missing: dict[str, list[str]] = {}
    other: list[str] = []
    count = 0
    for line in metadata.requires("regionmir") or []:
        needed = _REQUIREMENT.match(line)
        if needed is None or needed["extra"] not in (None, *EXTRAS):
            continue
        try:
            found = metadata.version(needed["name"])
        except metadata.PackageNotFoundError:
            missing.setdefault(needed["extra"] or "", []).append(needed["name"])
            continue
        count += 1
        if needed["version"] and found.split("+")[0] != needed["version"]:
            other.append(f"{needed['name']} {found} (tested with {needed['version']})")
    for extra, names in missing.items():
        wanted = f"regionmir[{extra}]" if extra else "regionmir"
        yield Finding(Level.FAIL, "Python packages", f"missing: {', '.join(names)}", f"run `pip install '{wanted}'`")
    if other:
        yield Finding(Level.WARN, "Python packages", "; ".join(other), "install the versions that were tested")
    if not missing and not other:
        yield Finding(Level.OK, "Python packages", f"{count} installed in the versions that were tested")


def _decoders() -> Iterator[Finding]:
    """Can every compressed transfer syntax be decoded?"""
    from pydicom import uid
    from pydicom.pixels.decoders.base import get_decoder

    syntaxes = [getattr(uid, keyword) for keyword in _COMPRESSED]
    unreadable = [syntax.name for syntax in syntaxes if not get_decoder(syntax).is_available]
    if unreadable:
        advice = "run `pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg pylibjpeg-rle`"
        yield Finding(Level.FAIL, "image decoders", f"none for {', '.join(unreadable)}", advice)
    else:
        yield Finding(Level.OK, "image decoders", f"{len(syntaxes)} compressed transfer syntaxes")


def _data_folder(settings: Settings) -> Iterator[Finding]:
    folder = settings.data_dir
    existing = _nearest_existing(folder)
    if not os.access(existing, os.W_OK | os.X_OK):
        advice = "give this account the right to write there, or set REGIONMIR_DATA_DIR"
        yield Finding(Level.FAIL, "data folder", f"{folder} cannot be written", advice)
    elif folder.is_dir() and folder.stat().st_mode & 0o077:
        yield Finding(Level.WARN, "data folder", f"{folder} is open to other accounts", f"run `chmod 700 {folder}`")
    else:
        yield Finding(Level.OK, "data folder", f"{folder}{'' if folder.is_dir() else ' (not made yet)'}")
    key = settings.site_key_file or folder / "site.key"
    if key.exists() and key.stat().st_mode & 0o077:
        advice = f"run `chmod 600 {key}`: with it pseudonyms can be undone"
        yield Finding(Level.FAIL, "site key", f"{key} can be read by other accounts", advice)
    free = shutil.disk_usage(existing).free
    level = Level.FAIL if free < _HARDLY_ANY_DISK else Level.WARN if free < _LITTLE_DISK else Level.OK
    advice = "" if level is Level.OK else "free some space, or set REGIONMIR_DATA_DIR to a larger disk"
    yield Finding(level, "disk", f"{free / _GIB:.1f} GiB free", advice)


def _nearest_existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.absolute().parents) if path.is_dir())


def _postgresql(settings: Settings) -> Iterator[Finding]:
    if settings.database_url is None:
        yield _found_program("PostgreSQL", lambda: f"{find_binaries()}, started by `regionmir up`")
        return
    try:
        number = database_checks.server_version(settings.database_url)
        pgvector = database_checks.pgvector_version(settings.database_url)
    except RegionMirError as error:
        yield Finding(Level.FAIL, "PostgreSQL", str(error), "start it, or put REGIONMIR_DATABASE_URL right")
        return
    version = f"{number // 10_000}.{number % 10_000}"
    if number < _MINIMUM_POSTGRESQL:
        yield Finding(Level.FAIL, "PostgreSQL", version, "install PostgreSQL 16 or newer")
    else:
        yield Finding(Level.OK, "PostgreSQL", version)
    if pgvector is None or _numbers(pgvector) < _MINIMUM_PGVECTOR:
        yield Finding(Level.FAIL, "pgvector", pgvector or "not installed", "install pgvector 0.8.4 or newer")
    else:
        yield Finding(Level.OK, "pgvector", pgvector)
    try:
        database_checks.require_durable(settings.database_url)
        yield Finding(Level.OK, "durability", "a commit survives a power failure")
    except RegionMirError as error:
        yield Finding(Level.FAIL, "durability", str(error), "change it in postgresql.conf; `regionmir up` refuses it")


def _redis(settings: Settings) -> Iterator[Finding]:
    if settings.redis_url is None:
        try:
            program = find_server()
        except RegionMirError as error:
            yield Finding(Level.FAIL, "Redis", "not found", str(error))
            return
        yield _redis_version(server_version(program), f", {program}, started by `regionmir up`")
        return
    import redis

    from regionmir.queue import redis_client

    try:
        with redis_client(settings.redis_url) as client:
            version = str(client.info("server")["redis_version"])
    except (redis.RedisError, OSError, ValueError, RegionMirError) as error:
        advice = "start it, or put REGIONMIR_REDIS_URL right"
        yield Finding(Level.FAIL, "Redis", f"does not answer ({type(error).__name__})", advice)
        return
    yield _redis_version(_numbers(version), "")


def _redis_version(version: tuple[int, ...], where: str) -> Finding:
    text = ".".join(map(str, version)) or "unknown version"
    if version < _OLD_REDIS:
        advice = "good enough for a demo; install redis-server 7 or valkey-server for real use"
        return Finding(Level.WARN, "Redis", f"{text}{where}", advice)
    return Finding(Level.OK, "Redis", f"{text}{where}")


def _ports(settings: Settings) -> Iterator[Finding]:
    ours = running.endpoints_of(settings) is not None
    for name, host, port in (
        ("DICOM port", settings.dicom_host, settings.dicom_port),
        ("HTTP port", settings.http_host, settings.http_port),
    ):
        why = why_not_free(host, port)
        if ours and why is not None:
            yield Finding(Level.OK, name, f"{host}:{port}, in use by the RegionMIR that runs on this data folder")
        elif why is not None:
            advice = f"free it, or set REGIONMIR_{name.split()[0]}_PORT"
            yield Finding(Level.FAIL, name, f"{host}:{port}: {why}", advice)
        else:
            yield Finding(Level.OK, name, f"{host}:{port} is free")

    yield from _metrics_ports(settings, ours=ours)


def _metrics_ports(settings: Settings, *, ours: bool) -> Iterator[Finding]:
    try:
        told = metrics_ports(settings, processes.count(settings.dicom_processes))
    except ConfigurationError as error:
        yield Finding(Level.FAIL, "metrics ports", str(error), "set REGIONMIR_METRICS_PORT")
        return
    if not told:
        return
    listed = ", ".join(f"{port} {process}" for port, process in told.items())
    taken = [port for port in told if not ours and why_not_free(settings.metrics_host, port) is not None]
    if taken:
        why = f"{', '.join(map(str, taken))} in use: these processes would tell no figures ({listed})"
        yield Finding(Level.WARN, "metrics ports", why, "free them, or set REGIONMIR_METRICS_PORT")
    else:
        yield Finding(Level.OK, "metrics ports", listed)


def _model(settings: Settings) -> Iterator[Finding]:
    try:
        from models.registry import load_model

        info = load_model(settings.model, threads=settings.torch_threads or None).info
    except ImportError as error:
        yield Finding(Level.FAIL, "model", f"{error.name} is not installed", "run `pip install 'regionmir[worker]'`")
        return
    except RegionMirError as error:
        yield Finding(Level.FAIL, "model", str(error), "set REGIONMIR_MODEL, or install RegionMIR again")
        return
    yield Finding(
        Level.OK, "model", f"{info.name} {info.version}, {len(info.anatomies)} regions, {info.dim} numbers each"
    )


def _peers(settings: Settings) -> Iterator[Finding]:
    """Ask every peer that has an address by C-ECHO."""
    if settings.database_url is None:
        yield Finding(Level.OK, "peers", "not asked: RegionMIR is not running")
        return
    from db import peers
    from regionmir.admin.context import open_database
    from regionmir.scu.echo import echo
    from regionmir.scu.peer import Timeouts, address_of

    try:
        with open_database(settings) as database, database.session() as session:
            known = peers.listing(session)
    except RegionMirError as error:
        yield Finding(Level.FAIL, "peers", str(error), "put the database right first")
        return
    if not known:
        yield Finding(Level.OK, "peers", "none registered")
    patience = Timeouts(connect_s=3, acse_s=5, dimse_s=5, network_s=5)
    for peer in known:
        if not peer.host or peer.port is None:
            continue
        address = address_of(peer, settings.tls_files)
        try:
            answer = echo(address, settings.ae_title, patience)
        except RegionMirError as error:
            yield Finding(Level.WARN, "peer", str(error), "check that it runs, and that it knows us")
            continue
        level = Level.OK if answer.status.is_success else Level.WARN
        yield Finding(level, "peer", f"{address} answered 0x{answer.status.code:04X}")


def _found_program(subject: str, find: Callable[[], str]) -> Finding:
    try:
        return Finding(Level.OK, subject, find())
    except RegionMirError as error:
        return Finding(Level.FAIL, subject, "not found", str(error))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])
