"""`regionmir query`: which studies have a region like this one?"""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.table import Table

from regionmir.admin.context import JSON, console, open_session, print_json, settings_in_force
from regionmir.admin.talking import (
    CALLING,
    TLS,
    TLS_CA,
    TLS_CERTIFICATE,
    TLS_KEY,
    TO,
    TlsOptions,
    called_peer,
    calling_title,
)

if TYPE_CHECKING:
    from regionmir.admin.similar import SimilarAnswer


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(query)


def query(
    anchor: str = typer.Option(metavar="UID|ACCESSION|LAST", help="The study to start from."),
    region: str = typer.Option(metavar="SHORT", help="Region to compare, such as LLLZ; several: LLLZ+RLLZ."),
    k: int = typer.Option(10, "-k", min=1, max=200, help="Most hits."),
    image: Path | None = typer.Option(None, metavar="OUT.PNG", help="Write a picture of the query beside its hits."),
    to: str | None = TO,
    calling: str = CALLING,
    tls: bool = TLS,
    tls_ca: Path | None = TLS_CA,
    tls_certificate: Path | None = TLS_CERTIFICATE,
    tls_key: Path | None = TLS_KEY,
    as_json: bool = JSON,
) -> None:
    """Ask a node by C-FIND for the studies whose region is most similar. Similarity is no probability of anything.

    Example: regionmir query --anchor LAST --region LLLZ -k 5 --image similar.png

    Over TLS: regionmir query --anchor LAST --region LLLZ --tls --tls-ca ca.pem
    """
    from regionmir.admin.similar import query_similar

    node = called_peer(to, settings_in_force(), TlsOptions(tls, tls_ca, tls_certificate, tls_key))
    title = calling_title(calling)
    answer = query_similar(node, title, anchor, region, k=k)
    if image is not None:
        from db.retrieve import answered_regions
        from regionmir.admin.similar_picture import answer_picture

        with open_session() as session:
            regions = answered_regions(session, answer.code)
        image.write_bytes(answer_picture(answer, regions, node, title))
    if as_json:
        print_json(as_report(answer))
        return
    _print(answer)
    if image is not None:
        typer.echo(f"picture: {image}")


def as_report(answer: "SimilarAnswer") -> dict[str, Any]:
    """Return the answer as plain values, for JSON."""
    return {
        "code": answer.code,
        "anchor": answer.anchor,
        "region": answer.regions,
        "anatomy": " + ".join(anatomy.name for anatomy in answer.anatomies),
        "coverage": answer.coverage,
        "seconds": round(answer.seconds, 4),
        "hits": [asdict(hit) for hit in answer.hits],
    }


def _print(answer: "SimilarAnswer") -> None:
    name = f"{' + '.join(anatomy.name for anatomy in answer.anatomies)} ({answer.regions})"
    if not answer.hits:
        typer.echo(f"{name}: no similar study")
        return
    typer.echo(f"{name}, answer {answer.code}, {answer.coverage}, {1000 * answer.seconds:.0f} ms")
    table = Table("#", "similarity", "patient", "sex", "date", "view", "Study Instance UID", box=None, pad_edge=False)
    for hit in answer.hits:
        table.add_row(
            str(hit.rank),
            f"{hit.similarity:.2f}",
            hit.patient_id,
            hit.patient_sex,
            hit.study_date,
            hit.view,
            hit.study_instance_uid,
        )
    console.print(table)
