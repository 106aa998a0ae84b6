"""`regionmir peers`: the AEs that we know, and what each may do. Changes count from the next association on."""

import ipaddress
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer
from rich.table import Table

from regionmir.admin.context import JSON, console, open_session, print_json, settings_in_force
from regionmir.core.errors import ConfigurationError, PeerRefused, PeerUnavailable, RegionMirError
from regionmir.core.identifiers import parse_ae_title
from regionmir.core.keeping import StoragePolicy
from regionmir.core.records import Disclosure, lower
from regionmir.core.tls import parse_certificate

if TYPE_CHECKING:
    from db.peers import Peer

app = typer.Typer(no_args_is_help=True, help="The AEs that we know, and what each may do.")

_RIGHTS = ("echo", "store", "find", "retrieve", "correct", "identify")
_NARROWED = {"get": "retrieve", "move": "retrieve", "commit": "store"}
"""Services that may be taken from a right, and from which."""

_TITLE = typer.Argument(metavar="AE_TITLE", help="AE title of the peer.")


@app.command()
def add(
    ae_title: str = _TITLE,
    host: str = typer.Option("", help="Where it listens; only needed to send to it."),
    port: int | None = typer.Option(None, min=1, max=65535, help="Port it listens on."),
    source: str = typer.Option("", help="Address or network (CIDR) that it must call from; empty: any."),
    echo: bool = typer.Option(True, help="May verify the connection."),
    store: bool = typer.Option(True, help="May send instances."),
    find: bool = typer.Option(True, help="May search."),
    retrieve: bool = typer.Option(True, help="May retrieve, and be the destination of a C-MOVE."),
    correct: bool = typer.Option(False, help="May replace an instance by another version of it."),
    identify: bool = typer.Option(False, help="May learn the origin of a hit (`regionmir resolve`)."),
    disclosure: Disclosure = typer.Option(Disclosure.PSEUDONYMOUS, help="What answers reveal to it."),
    accepts_pseudonyms: bool = typer.Option(False, help="May be sent, and get, pseudonymous copies."),
    results_to: str = typer.Option("", help="AE title that results of its queries are sent to."),
    last_from: list[str] = typer.Option([], help="AE title whose newest study LAST may mean; may be repeated."),
    explain: bool = typer.Option(True, help="Errors of similarity queries as a row that users see."),
    max_associations: int = typer.Option(1, min=1, max=64, help="Associations that deliveries to it may hold at once."),
    commits_storage: bool = typer.Option(False, help="Ask it for storage commitment after each delivery."),
    quiet_s: float | None = typer.Option(None, min=0, help="Seconds of silence after which its studies are complete."),
    complete_on_release: bool = typer.Option(False, help="Its studies are complete when its association ends."),
    results: str = typer.Option("sr", help="Kinds of results that it is sent: sr,sheet,pdf,gsps,kos; empty: none."),
    get: bool = typer.Option(True, help="With --retrieve: by C-GET."),
    move: bool = typer.Option(True, help="With --retrieve: by C-MOVE."),
    commit: bool = typer.Option(True, help="With --store: may ask for storage commitment."),
    tls: bool = typer.Option(False, help="Call it over TLS."),
    storage: StoragePolicy | None = typer.Option(
        None, help="What is kept of what it sends: keep, reduced, regions; unset: as the settings say."
    ),
    keep_days: int | None = typer.Option(
        None, min=0, help="Days after which objects that it sent are removed, 0: never; unset: as the settings say."
    ),
    certificate: str = typer.Option(
        "", help="Certificate it must show: sha256:FINGERPRINT, or its subject such as CN=PACS,O=Hospital."
    ),
) -> None:
    """Register a peer, or replace what is registered under its AE title.

    Example: regionmir peers add ORTHANC --host 10.0.0.5 --port 4242 --source 10.0.0.5 --disclosure identified
    """
    from db import audit, peers

    peer = _checked(
        peers.Peer(
            ae_title=parse_ae_title(ae_title),
            host=host.strip(),
            port=port,
            source_address=_network(source),
            can_echo=echo,
            can_store=store,
            can_find=find,
            can_retrieve=retrieve,
            can_correct=correct,
            can_identify=identify,
            disclosure=disclosure,
            accepts_pseudonyms=accepts_pseudonyms,
            results_to=parse_ae_title(results_to) if results_to else "",
            last_from=tuple(parse_ae_title(title) for title in last_from),
            explain_row=explain,
            max_associations=max_associations,
            commits_storage=commits_storage,
            quiet_s=quiet_s,
            complete_on_release=complete_on_release,
            results=_kinds(results),
            can_get=get,
            can_move=move,
            can_commit=commit,
            tls=tls,
            certificate=parse_certificate(certificate),
            storage=storage,
            keep_days=keep_days,
        )
    )
    with open_session() as session:
        peers.upsert(session, peer)
        destination = peers.get(session, peer.results_to) if peer.results_to else None
        audit.record(session, "peer added", actor="operator", address="", detail=_as_json(peer))
    typer.echo(f"{peer.ae_title}: {_rights(peer)}; {_answers(peer)}")
    if peer.results_to:
        _say_what_results_bear(peer, destination)


@app.command("list")
def list_(as_json: bool = JSON) -> None:
    """Print all registered peers.

    Example: regionmir peers list --json
    """
    from db import peers

    with open_session() as session:
        found = peers.listing(session)
    if as_json:
        print_json([asdict(peer) for peer in found])
        return
    if not found:
        typer.echo("no peers; see `regionmir peers add --help`")
        return
    headings = ("AE title", "address", "called from", "may", "answers", "is sent", "results to", "kept")
    table = Table(*headings, box=None, pad_edge=False)
    for peer in found:
        where = f"{peer.host}:{peer.port}{' TLS' if peer.tls else ''}" if peer.is_destination else "-"
        source = " ".join(part for part in (peer.source_address, peer.certificate[:20]) if part) or "any"
        sent = ",".join(peer.results) if peer.is_destination else ""
        results = (sent or "-", peer.results_to or "-")
        table.add_row(peer.ae_title, where, source, _rights(peer), _answers(peer), *results, _kept(peer))
    console.print(table)


@app.command()
def remove(ae_title: str = _TITLE) -> None:
    """Forget a peer.

    Example: regionmir peers remove ORTHANC
    """
    from db import audit, peers

    title = parse_ae_title(ae_title)
    with open_session() as session:
        if not peers.remove(session, title):
            raise RegionMirError(f"no peer has the AE title {title}; see `regionmir peers list`")
        audit.record(session, "peer removed", actor="operator", address="", detail={"ae_title": title})
    typer.echo(f"{title} removed")


@app.command()
def echo(ae_title: str = _TITLE, as_json: bool = JSON) -> None:
    """Ask a peer by C-ECHO whether it is there and knows us.

    Example: regionmir peers echo ORTHANC
    """
    from db import peers
    from regionmir.scu.echo import echo as ask
    from regionmir.scu.peer import address_of

    settings = settings_in_force()
    title = parse_ae_title(ae_title)
    with open_session() as session:
        peer = peers.get(session, title)
    if peer is None or not peer.host or peer.port is None:
        raise RegionMirError(f"{title} is not registered with a host and a port; see `regionmir peers add --help`")
    address = address_of(peer, settings.tls_files)
    try:
        answer = ask(address, settings.ae_title)
    except (PeerUnavailable, PeerRefused) as error:
        if not as_json:
            raise
        print_json({"peer": str(address), "ok": False, "error": str(error)})
        raise typer.Exit(1) from None
    ok = answer.status.code == 0
    if as_json:
        print_json({"peer": str(address), "ok": ok, "status": answer.status.code, "seconds": answer.total_s})
    else:
        typer.echo(f"{address}: status 0x{answer.status.code:04X} in {1000 * answer.total_s:.0f} ms")
    raise typer.Exit(0 if ok else 1)


def _checked(peer: "Peer") -> "Peer":
    """Return `peer` if what it is registered for makes sense. Raises `ConfigurationError`."""
    if peer.disclosure is Disclosure.IDENTIFIED and not (peer.source_address or peer.certificate):
        raise ConfigurationError(
            "an identified peer needs --source or --certificate: anyone can call under its AE title, so only the title "
            "together with its address or its certificate may be shown patients' identities"
        )
    if bool(peer.host) != (peer.port is not None):
        raise ConfigurationError("--host and --port go together")
    return peer


def _network(text: str) -> str:
    """Return an address or a network as `ipaddress` writes it. Raises `ConfigurationError`."""
    if not text.strip():
        return ""
    try:
        network = ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        raise ConfigurationError(
            f"--source must be an address or a network, such as 10.0.0.0/24, not {text[:60]!r}"
        ) from None
    return str(network.network_address) if network.num_addresses == 1 else str(network)


def _kinds(text: str) -> tuple[str, ...]:
    """Return the kinds of results that are named. Raises `ConfigurationError`."""
    from regionmir.results.making import KINDS

    named = tuple(dict.fromkeys(text.lower().replace(",", " ").split()))
    unknown = [name for name in named if name not in KINDS]
    if unknown:
        raise ConfigurationError(f"--results may name {', '.join(KINDS)}, not {unknown[0][:40]!r}")
    return named


def _say_what_results_bear(peer: "Peer", destination: "Peer | None") -> None:
    """Tell the operator whose identity results will bear, and what is missing for them to arrive."""
    if destination is None or not destination.is_destination:
        typer.echo(f"results to {peer.results_to}: nowhere yet, register it with --host and --port")
        return
    disclosure = lower(peer.disclosure, destination.disclosure)
    refused = disclosure is Disclosure.PSEUDONYMOUS and not destination.accepts_pseudonyms
    missing = "; it is not registered with --accepts-pseudonyms and will get none" if refused else ""
    typer.echo(f"results to {peer.results_to}: {disclosure.value}{missing}")


def _rights(peer: "Peer") -> str:
    may = [name for name in _RIGHTS if getattr(peer, f"can_{name}")]
    without = [name for name, of in _NARROWED.items() if of in may and not getattr(peer, f"can_{name}")]
    return " ".join([*may, *(f"no-{name}" for name in without)]) or "nothing"


def _kept(peer: "Peer") -> str:
    """Return what is kept of what it sends, where that is not as the settings say."""
    days = "" if peer.keep_days is None else f"{peer.keep_days} days" if peer.keep_days else "for ever"
    return " ".join(part for part in (peer.storage.value if peer.storage else "", days) if part) or "-"


def _answers(peer: "Peer") -> str:
    return f"{peer.disclosure.value}, copies" if peer.accepts_pseudonyms else peer.disclosure.value


def _as_json(peer: "Peer") -> dict[str, object]:
    kept: dict[str, object] = json.loads(json.dumps(asdict(peer), default=str))
    return kept
