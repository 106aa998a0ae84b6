"""Peers: the AEs we know, where they are and what they may do. Read at each association, so changes count at once."""

from dataclasses import asdict, dataclass, fields
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db.tables import PeerRow
from regionmir.core.identifiers import AETitle
from regionmir.core.keeping import StoragePolicy
from regionmir.core.records import Disclosure


@dataclass(frozen=True, slots=True)
class Peer:
    """One registered AE; the fields are the columns of table `peer`."""

    ae_title: AETitle
    host: str = ""
    """Empty: it only calls us and is no destination."""
    port: int | None = None
    source_address: str = ""
    """Address or network (CIDR) that it must call from; empty: any."""
    can_echo: bool = True
    can_store: bool = False
    can_find: bool = False
    can_retrieve: bool = False
    can_correct: bool = False
    can_identify: bool = False
    disclosure: Disclosure = Disclosure.PSEUDONYMOUS
    accepts_pseudonyms: bool = False
    results_to: str = ""
    """AE title that results of its queries are sent to; empty: nowhere."""
    last_from: tuple[AETitle, ...] = ()
    explain_row: bool = True
    max_associations: int = 1
    """Associations that we hold open to it at once to deliver results."""
    commits_storage: bool = False
    """It answers storage commitment: we ask for it after every delivery."""
    quiet_s: float | None = None
    """Seconds without a new instance after which a study of its is complete; None: the setting `quiet_s`."""
    complete_on_release: bool = False
    """It sends a study over one association: when that is released, the study is complete."""
    results: tuple[str, ...] = ("sr",)
    """Kinds of results that it is sent as a destination."""
    can_get: bool = True
    """False takes C-GET from the right to retrieve."""
    can_move: bool = True
    """False takes C-MOVE from the right to retrieve."""
    can_commit: bool = True
    """False takes storage commitment from the right to store."""
    tls: bool = False
    """We call it over TLS."""
    certificate: str = ""
    """Fingerprint or subject of the certificate that it must show (`core.tls.parse_certificate`); empty: any."""
    storage: StoragePolicy | None = None
    """What is kept of what it sends; None: as the settings say."""
    keep_days: int | None = None
    """Days after which objects that it sent are removed, 0: never; None: as the settings say."""

    @property
    def is_destination(self) -> bool:
        """True if objects can be sent to it."""
        return self.host != "" and self.port is not None


def get(session: Session, ae_title: str) -> Peer | None:
    """Return the peer of this AE title, None if it is not registered."""
    row = session.scalar(select(PeerRow).where(PeerRow.ae_title == ae_title))
    return None if row is None else _peer(row)


def listing(session: Session) -> list[Peer]:
    """Return all peers by AE title."""
    return [_peer(row) for row in session.scalars(select(PeerRow).order_by(PeerRow.ae_title))]


def upsert(session: Session, peer: Peer) -> None:
    """Register `peer`, or replace what was registered under its AE title."""
    values = _values(peer)
    statement = insert(PeerRow).values(values)
    changed: dict[str, Any] = {name: statement.excluded[name] for name in values if name != "ae_title"}
    changed["changed_at"] = func.now()
    session.execute(statement.on_conflict_do_update(index_elements=["ae_title"], set_=changed))


def remove(session: Session, ae_title: str) -> bool:
    """Forget a peer; False if there was none."""
    statement = delete(PeerRow).where(PeerRow.ae_title == ae_title).returning(PeerRow.ae_title)
    return session.scalar(statement) is not None


def _peer(row: PeerRow) -> Peer:
    values = {field.name: getattr(row, field.name) for field in fields(Peer)}
    values |= {
        "ae_title": AETitle(row.ae_title),
        "disclosure": Disclosure(row.disclosure),
        "last_from": tuple(AETitle(title) for title in row.last_from),
        "results": tuple(row.results),
        "storage": None if row.storage is None else StoragePolicy(row.storage),
    }
    return Peer(**values)


def _values(peer: Peer) -> dict[str, Any]:
    return {
        **asdict(peer),
        "disclosure": peer.disclosure.value,
        "last_from": list(peer.last_from),
        "results": list(peer.results),
        "storage": None if peer.storage is None else peer.storage.value,
    }
