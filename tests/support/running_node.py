"""A DICOM node in this process, on a free port of loopback, with its own data folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from db import peers
from db.engine import Database
from db.peers import Peer
from dicom_node.node import Node
from dicom_node.server import serve
from regionmir.core.identifiers import parse_ae_title
from regionmir.core.records import Disclosure, Rights
from regionmir.core.settings import load_settings
from regionmir.scu.peer import PeerAddress
from regionmir.scu.store import SentFile, store
from regionmir.storage import FileStore
from tests.support.ports import free_port

ALL_RIGHTS = Rights(echo=True, store=True, find=True, retrieve=True)


class SilentQueue:
    """Wakes nobody."""

    def wake(self) -> None: ...

    def wake_search(self) -> None: ...

    def depth(self) -> int:
        return 0


@dataclass(frozen=True)
class RunningNode:
    """A node with shortcuts for tests."""

    node: Node
    peer: PeerAddress

    def register(
        self,
        ae_title: str,
        *,
        port: int | None = None,
        rights: Rights = ALL_RIGHTS,
        disclosure: Disclosure = Disclosure.IDENTIFIED,
        accepts_pseudonyms: bool = False,
    ) -> None:
        """Make `ae_title` a peer of this machine."""
        row = Peer(
            ae_title=parse_ae_title(ae_title),
            host="127.0.0.1" if port else "",
            port=port,
            can_echo=rights.echo,
            can_store=rights.store,
            can_find=rights.find,
            can_retrieve=rights.retrieve,
            disclosure=disclosure,
            accepts_pseudonyms=accepts_pseudonyms,
        )
        with self.node.database.session() as session:
            peers.upsert(session, row)

    def receive(self, *paths: Path) -> list[SentFile]:
        """Send files to the node by C-STORE."""
        return list(store(self.peer, "SENDER", paths))


@contextmanager
def running_node(
    database: Database, folder: Path, *, network_timeout_s: float = 10.0, **more: Any
) -> Iterator[RunningNode]:
    """Run a node until the block ends; `more` settings as given."""
    settings = load_settings(
        data_dir=folder, dicom_port=free_port(), network_timeout_s=network_timeout_s, acse_timeout_s=5, **more
    )
    node = Node(settings, database, FileStore(folder), SilentQueue(), settings.pseudonymizer())
    server = serve(node)
    try:
        yield RunningNode(node, PeerAddress(parse_ae_title(settings.ae_title), "127.0.0.1", server.port))
    finally:
        server.stop()
