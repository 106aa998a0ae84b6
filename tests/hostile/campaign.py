"""Very many bad inputs to everything that reads bytes from outside, counted: what was refused, what crashed, what hung.

A node and the web application run in this process, as threads do in service, over a real database; objects are decoded
in child processes. Every input is a function of the seed and its number, so that any of them can be made again.
"""

import random
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from pynetdicom import AE
from sqlalchemy import make_url

from db import peers
from db.engine import Database
from db.peers import Peer
from dicom_node.node import Node
from dicom_node.server import Server, serve
from regionmir import sandbox
from regionmir.core.errors import NotIndexable
from regionmir.core.identifiers import AETitle
from regionmir.core.records import Disclosure
from regionmir.core.settings import Settings
from regionmir.pixels.guarded import film_of_picture
from regionmir.pixels.quiet import quiet_pydicom
from regionmir.storage import FileStore
from regionmir.storage.part10 import dataset_offset
from regionmir.web.app import make_app, make_site
from tests.hostile import seeds, targets, wire
from tests.hostile.bombs import BOMBS, PATH_UIDS, bombs, png_bomb
from tests.hostile.mutation import mutated
from tests.support.dicom import CR, encoded
from tests.support.find import keys
from tests.support.postgres import TestDatabases
from tests.support.web_client import WebClient
from workers.reading import Film, read_object

HANG_S: Final = 30.0
_CALLING: Final = "HOSTILE"
_NO_SERVICE: Final = 503
_ECHO_EVERY: Final = 25

REFUSED, TAKEN = "refused", "taken"


class Crash(Exception):
    """An answer that no input may bring about."""


@dataclass
class Tally:
    """What became of the inputs of one kind. `crashes` name the number of the input that made each."""

    kind: str
    tried: int = 0
    refused: int = 0
    crashes: list[str] = field(default_factory=list)
    hangs: list[str] = field(default_factory=list)
    slowest_s: float = 0.0


@dataclass(frozen=True)
class Site:
    """What is attacked."""

    node: Node
    server: Server
    web: WebClient
    folder: Path

    def echo(self) -> None:
        """Raise `Crash` unless the node answers a C-ECHO."""
        ae = AE("CHECKING")
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = HANG_S
        ae.add_requested_context(wire.VERIFICATION)
        assoc = ae.associate("127.0.0.1", self.server.port, ae_title="REGIONMIR")
        if not assoc.is_established:
            raise Crash("the node takes no association any more")
        status = assoc.send_c_echo()
        assoc.release()
        if status.get("Status") != 0:
            raise Crash("the node does not answer C-ECHO any more")

    def is_idle(self) -> bool:
        """Return whether every association ends in time: one that does not would keep its slot."""
        self.server._wait_until_idle(HANG_S)
        return not self.server._active()


Attack = Callable[[Site, int], str]
"""Makes and tries the input of this number; returns `REFUSED` or `TAKEN`, or raises anything: a crash."""


@contextmanager
def site(databases: TestDatabases, folder: Path) -> Iterator[Site]:
    """Run a node and the web application with an archive of their own."""
    url = databases.migrated()
    database = Database(url, application_name="hostile")
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    settings = Settings(data_dir=folder, database_url=plain, anonymous_store=True, max_pixels=targets.MAX_PIXELS)
    settings = settings.model_copy(update={"dicom_port": 0, "network_timeout_s": 10.0, "acse_timeout_s": 10.0})
    node = Node(settings, database, FileStore(folder), _NoQueue(), settings.pseudonymizer())
    with database.session() as session:
        rights = {"can_store": True, "can_find": True, "can_retrieve": True, "disclosure": Disclosure.IDENTIFIED}
        peers.upsert(session, Peer(AETitle(_CALLING), **rights))
    server = serve(node)
    pages = make_site(settings)
    for make in (_picture, _all_seeds, _bombs, seeds.annotations):
        make()  # before the clock runs
    try:
        yield Site(node, server, WebClient(make_app(pages)), folder)
    finally:
        server.stop(drain_s=2.0)
        pages.close()
        database.close()
        databases.drop(url)


class _NoQueue:
    def wake(self) -> None: ...

    def wake_search(self) -> None: ...

    def depth(self) -> int:
        return 0


def run(on: Site, kind: str, numbers: Sequence[int]) -> Tally:
    """Try the inputs of a kind with these numbers, one after the other; the node must answer C-ECHO in between."""
    tally, attack = Tally(kind), ATTACKS[kind]
    with thread_errors() as errors, quiet_pydicom():
        for n in numbers:
            began = time.monotonic()
            try:
                tally.refused += attack(on, n) == REFUSED
                if tally.tried % _ECHO_EVERY == 0:
                    on.echo()
            except TimeoutError:
                tally.hangs.append(f"{kind} {n}")
            except Exception as error:
                tally.crashes.append(f"{kind} {n}: {_where(error)}")
            took = time.monotonic() - began
            tally.tried += 1
            tally.slowest_s = max(tally.slowest_s, took)
            if took > HANG_S:
                tally.hangs.append(f"{kind} {n}: {took:.0f} s")
            tally.crashes += [f"{kind} {n}: {one}" for one in errors]
            errors.clear()
        on.echo()
        if not on.is_idle():
            tally.hangs.append(f"{kind}: associations stay open")
    return tally


def _where(error: BaseException) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} {error} at {last.filename}:{last.lineno}"[:400]


@contextmanager
def thread_errors() -> Iterator[list[str]]:
    """Collect what threads of the node end with."""
    found: list[str] = []
    before = threading.excepthook
    threading.excepthook = lambda args: found.append(_where(args.exc_value)) if args.exc_value else None
    try:
        yield found
    finally:
        threading.excepthook = before


def _pdus_to_node(on: Site, n: int) -> str:
    """Send broken PDUs of an echo, a query or a C-STORE."""
    film = seeds.made()[n % 3]
    plain = (wire.echo_request(), wire.find_request(plain_identifier(n)), _storing(film))[n % 3]
    heard = wire.exchange(on.server.port, wire.mutated_pdus(plain, n), HANG_S)
    return TAKEN if heard[:1] == b"\x02" else REFUSED


def _identifier_to_node(on: Site, n: int) -> str:
    heard = wire.exchange(on.server.port, wire.find_request(mutated(plain_identifier(n), n)), HANG_S, patient=True)
    return TAKEN if b"\x00\x00\x00\x09\x02\x00\x00\x00\x00\x00" in heard else REFUSED


def _object_to_node(on: Site, n: int) -> str:
    """Store a broken object by C-STORE; the node may take or refuse it, but must say which."""
    return _sent(on, *data_set_of(mutated(_seed(n), n)))


def _odd_file_to_node(on: Site, n: int) -> str:
    """Store an odd file under the UIDs that it has, so that it is not refused for these alone."""
    found = seeds.odd()
    return _sent(on, *data_set_of(found[n % len(found)][1]))


def _bomb_to_node(on: Site, n: int) -> str:
    return _sent(on, *data_set_of(_bomb(n)))


def _sent(on: Site, data_set: bytes, sop_class: str, sop_instance: str) -> str:
    heard = wire.exchange(on.server.port, wire.store_request(data_set, sop_class, sop_instance), HANG_S, patient=True)
    if heard[:1] not in (b"\x02", b"\x03"):
        raise Crash("a C-STORE got no answer")
    return TAKEN if b"\x00\x00\x00\x09\x02\x00\x00\x00\x00\x00" in heard else REFUSED


def _object_to_worker(on: Site, n: int) -> str:
    return _read(on, mutated(_seed(n), n))


def _annotation_to_worker(on: Site, n: int) -> str:
    found = seeds.annotations()
    return _read(on, mutated(found[n % len(found)], n))


def _odd_file_to_worker(on: Site, n: int) -> str:
    found = seeds.odd()
    return _read(on, found[n % len(found)][1])


def _bomb_to_worker(on: Site, n: int) -> str:
    return _read(on, _bomb(n))


def _read(on: Site, data: bytes) -> str:
    """Read an object as a worker does."""
    path = on.folder / "object.dcm"
    path.write_bytes(data)
    try:
        read = read_object(path, data_set_of(data)[1], targets.MAX_PIXELS)
    except NotIndexable:
        return REFUSED
    except OSError as error:
        raise Crash(f"reading the object: {error}") from error
    assert isinstance(read, Film | tuple)
    return TAKEN


def _object_to_web(on: Site, n: int) -> str:
    """Store a broken object, or one in a broken body, by STOW-RS, and have it shown."""
    data = mutated(_seed(n), n)
    head = f"--{targets.BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    body = head + data + f"\r\n--{targets.BOUNDARY}--\r\n".encode()
    if n % 4 == 0:
        body = mutated(body, n + 1)
    kind = f'multipart/related; type="application/dicom"; boundary={targets.BOUNDARY}'
    return _asked(on, "POST", "/dicom-web/studies", {"Content-Type": kind}, content=body)


def _url_to_web(on: Site, n: int) -> str:
    """Ask for odd paths with odd parameters and headers."""
    chance = random.Random(n)
    text, other = _text(chance), _text(chance)
    path = chance.choice(_PATHS).replace("{}", quote(text, safe=chance.choice(("", "/%?&=#"))))
    headers = {"Accept": _printable(other)} if chance.random() < 0.5 else {}
    return _asked(on, "GET", path, headers)


def _picture_to_web(on: Site, n: int) -> str:
    """Upload a broken picture; nobody signed in, so that it is refused before or after it is read."""
    chance = random.Random(n)
    return _asked(on, "POST", "/api/v1/films", {"Content-Type": "image/png"}, content=chance.randbytes(200))


def _asked(on: Site, method: str, path: str, headers: dict[str, str], **content: Any) -> str:
    found = on.web.request(method, path, headers, **content)
    if found.status_code >= 500 and found.status_code != _NO_SERVICE:
        raise Crash(f"{method} {path[:200]} is answered by {found.status_code}")
    return TAKEN if found.status_code < 400 else REFUSED


def _bomb_picture(on: Site, n: int) -> str:
    path = on.folder / "picture.png"
    path.write_bytes(_picture())
    try:
        film_of_picture(path)
    except NotIndexable:
        return REFUSED
    return TAKEN


def _to_target(name: str) -> Attack:
    """Return what gives broken bytes to one of our readers in this process."""

    def attack(on: Site, n: int) -> str:
        chance = random.Random(n)
        if name in ("token", "http"):
            data = chance.choice((_text(chance).encode("utf-8", "surrogatepass"), chance.randbytes(60)))
        elif name == "identifier":
            data = mutated(plain_identifier(n), n)
        else:
            data = mutated(_seed(n), n)
        targets.TARGETS[name](data)
        return REFUSED

    return attack


ATTACKS: Final[dict[str, Attack]] = {
    "bombs to the node": _bomb_to_node,
    "bombs to the worker": _bomb_to_worker,
    "a picture of 60,000 x 60,000 to the web": _bomb_picture,
    "odd files to the node": _odd_file_to_node,
    "odd files to the worker": _odd_file_to_worker,
    "broken objects to the node": _object_to_node,
    "broken objects to the worker": _object_to_worker,
    "broken annotations to the worker": _annotation_to_worker,
    "broken objects to the web": _object_to_web,
    "broken PDUs": _pdus_to_node,
    "broken Identifiers to the node": _identifier_to_node,
    "odd URLs": _url_to_web,
    "broken pictures to the web": _picture_to_web,
    "broken objects in this process": _to_target("objects"),
    "headers": _to_target("header"),
    "Identifiers": _to_target("identifier"),
    "tokens": _to_target("token"),
    "bodies and parameters": _to_target("http"),
}

QUICK: Final = ("headers", "Identifiers", "tokens", "bodies and parameters", "broken objects in this process")

FEW: Final = {
    "bombs to the node": len(BOMBS),
    "bombs to the worker": len(BOMBS),
    "a picture of 60,000 x 60,000 to the web": 1,
}
"""Kinds that have so many inputs and no more."""


_MANY: Final = 5
"""Times as many of the kinds that need no network, database or child process."""


def shares(inputs: int) -> dict[str, int]:
    """Return how many inputs of each kind make `inputs` in all."""
    fixed = {**FEW, "odd files to the node": len(seeds.odd()), "odd files to the worker": len(seeds.odd())}
    weights = {kind: _MANY if kind in QUICK else 1 for kind in ATTACKS if kind not in fixed}
    each = max(0, inputs - sum(fixed.values())) / sum(weights.values())
    return {kind: fixed.get(kind) or max(1, round(each * weights[kind])) for kind in ATTACKS}


def contained() -> int:
    """Return how many children died or were stopped, each costing one object."""
    return sandbox.shared().lost


_PATHS: Final = (
    "/dicom-web/studies?{}", "/dicom-web/studies?PatientID={}", "/dicom-web/studies?StudyDate={}&limit={}",
    "/dicom-web/studies/{}", "/dicom-web/studies/{}/series", "/dicom-web/studies/{}/series/{}/instances/{}/rendered",
    "/dicom-web/studies/1.2.3/series/1.2.4/instances/1.2.5/frames/{}", "/dicom-web/sim/{}/LLLZ/studies",
    "/dicom-web/sim/LAST/{}/studies", "/api/v1/instances/{}", "/api/v1/instances?state={}", "/{}", "/study/{}",
    "/studies?q={}", "/similar/{}/LLLZ", "/thumbnails/{}", "/static/{}", "/ohif/{}",
)  # fmt: skip

_WORDS: Final = (
    *PATH_UIDS, "SIM 4711 LLLZ", "SIM LAST", "k=25", "by=rank", "*", "?", "\\", "\0", "../..", "%00", "%2e%2e%2f", "'",
    '"', "<script>", "1.2.3", "20240101-20239999", "limit=-1", "window=1,2,linear", "viewport=1e9,1,,,,", "\u202e", "𝕏",
    "=", "&", ";", ",", "#001", "^", "application/dicom; q=", "multipart/related; type=", "1" * 300, "é", "\r\n", "٣",
)  # fmt: skip


def odd_text(n: int) -> str:
    """Return the odd text of this number."""
    return _text(random.Random(n))


def _text(chance: random.Random) -> str:
    return "".join(chance.choice(_WORDS) + chance.choice(("", " ", "&", "=")) for _ in range(chance.randint(1, 5)))


def _printable(text: str) -> str:
    return "".join(c for c in text if " " <= c <= "~")


def _seed(n: int) -> bytes:
    found = _all_seeds()
    return found[n % len(found)]


@cache
def _all_seeds() -> tuple[bytes, ...]:
    return (*seeds.made() * 5, *seeds.all_seeds())


def _bomb(n: int) -> bytes:
    return _bombs()[n % len(BOMBS)]


@cache
def _bombs() -> tuple[bytes, ...]:
    return tuple(content for _, content in bombs())


@cache
def _picture() -> bytes:
    return png_bomb()


def plain_identifier(n: int) -> bytes:
    """Return an Identifier that is as it should be: a search expression with a filter, or ordinary keys."""
    anatomic = {"StudyDescription": "SIM 4711 LLLZ k=5", "PatientAge": "040Y-060Y"}
    plain = {"PatientName": "A*", "StudyDate": "20240101-", "StudyInstanceUID": "1.2.3\\1.2.4"}
    return encoded(keys("STUDY", SpecificCharacterSet="ISO_IR 192", **(anatomic if n % 2 else plain)))


def _storing(film: bytes) -> list[bytes]:
    return wire.store_request(*data_set_of(film))


def data_set_of(data: bytes) -> tuple[bytes, str, str]:
    """Return the data set of a Part 10 file, and SOP Class and Instance UID of its meta group; else all and any."""
    offset = _offset(data)
    head = data[:offset]
    return data[offset:], _uid_in(head, 0x0002) or CR, _uid_in(head, 0x0003) or "1.2.3.4"


def _offset(data: bytes) -> int:
    try:
        return dataset_offset(data[:144])
    except ValueError:
        return 0


def _uid_in(head: bytes, number: int) -> str:
    at = head.find(bytes([2, 0, number, 0]) + b"UI")
    if at < 0:
        return ""
    length = int.from_bytes(head[at + 6 : at + 8], "little")
    uid = head[at + 8 : at + 8 + length].rstrip(b"\0").decode("ascii", "replace")[:64]
    return uid if set(uid) <= set("0123456789.") else ""
