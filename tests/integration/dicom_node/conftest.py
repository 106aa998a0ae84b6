"""A node of one's own: real store, real database, a queue that counts."""

import dataclasses
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from db import instances, peers
from db.engine import Database
from db.instances import InstanceSummary
from db.peers import Peer
from dicom_node.node import Node
from dicom_node.server import Server, serve
from regionmir.core.pseudonyms import Pseudonymizer
from regionmir.core.settings import Settings
from regionmir.storage import Files, FileStore

Calls = list[tuple[str, str]]


@dataclasses.dataclass
class CountingQueue:
    """Counts wake-ups."""

    calls: Calls

    def wake(self) -> None:
        self.calls.append(("wake", ""))

    def wake_search(self) -> None:
        self.calls.append(("wake search", ""))

    def depth(self) -> int:
        return 0


@dataclasses.dataclass
class RunningNode:
    """A node that listens on loopback."""

    node: Node
    server: Server
    calls: Calls

    @property
    def port(self) -> int:
        return self.server.port

    def register(self, ae_title: str, **values: object) -> None:
        """Register a peer; without values it may do everything but correct and identify."""
        rights = {"can_store": True, "can_find": True, "can_retrieve": True}
        with self.node.database.session() as session:
            peers.upsert(session, Peer(ae_title, **{**rights, **values}))  # type: ignore[arg-type]

    def instances(self) -> list[InstanceSummary]:
        with self.node.database.session() as session:
            return list(instances.listing(session))

    def stored_dataset(self, sop_instance_uid: str) -> bytes:
        """Return the bytes of the stored data set, after preamble and meta group."""
        with self.node.database.session() as session:
            found = instances.detail(session, sop_instance_uid)  # type: ignore[arg-type]
        assert found is not None
        content = self.node.store.path(found.storage_key).read_bytes()
        return content[132 + 12 + int.from_bytes(content[140:144], "little") :]

    def incoming(self) -> list[str]:
        return sorted(path.name for path in self.node.store.incoming_dir.iterdir())


NodeFactory = Callable[..., RunningNode]


@pytest.fixture
def start_node(tmp_path: Path, database: Database) -> Iterator[NodeFactory]:
    """Return a function that starts a node; its arguments are settings, and `files` or `database` to put in."""
    started: list[RunningNode] = []

    def start(*, files: Files | None = None, calls: Calls | None = None, **values: object) -> RunningNode:
        calls = [] if calls is None else calls
        using = values.pop("database", database)
        settings = Settings(data_dir=tmp_path / "data").model_copy(update={"dicom_port": 0, **values})
        node = Node(
            settings=settings,
            database=using,  # type: ignore[arg-type]
            store=FileStore(settings.data_dir, files),
            queue=CountingQueue(calls),
            pseudonymizer=Pseudonymizer(secrets.token_bytes(32)),
        )
        started.append(RunningNode(node, serve(node), calls))
        return started[-1]

    yield start
    for running in started:
        running.server.stop(drain_s=2.0)


@pytest.fixture
def running(start_node: NodeFactory) -> RunningNode:
    """Return a node with default settings."""
    return start_node()
