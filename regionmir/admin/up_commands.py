"""`regionmir up`."""

import typer

from regionmir.admin.context import console
from regionmir.core.logging import configure_logging
from regionmir.core.settings import Settings, load_settings
from regionmir.web.signin.exposure import has_tls


def up() -> None:
    """Start RegionMIR on this machine and serve until Ctrl-C.

    Starts PostgreSQL (unless REGIONMIR_DATABASE_URL is set), Redis (unless REGIONMIR_REDIS_URL is set), the DICOM node,
    an index worker, a light worker and the web process; starts again what dies; stops all of it in order.

    Example: REGIONMIR_DICOM_PORT=4242 regionmir up
    """
    from regionmir.admin.up import run_up

    settings = load_settings()
    configure_logging(settings, "supervisor")
    run_up(settings, _announce)


def _announce(settings: Settings) -> None:
    """Print how to use what now runs."""
    host = "localhost" if settings.dicom_host in ("0.0.0.0", "::") else settings.dicom_host  # noqa: S104 - compared
    web = "localhost" if settings.http_host in ("0.0.0.0", "::") else settings.http_host  # noqa: S104 - compared
    web = f"[{web}]" if ":" in web else web
    send = f"storescu +sd +r -aec {settings.ae_title} {host} {settings.dicom_port} FOLDER"
    lines = {
        "DICOM node": f"AE title {settings.ae_title}, host {host}, port {settings.dicom_port}",
        "Web page": f"{'https' if has_tls(settings) else 'http'}://{web}:{settings.http_port}/",
        "Data folder": str(settings.data_dir),
        "Send images": f"regionmir send FOLDER   or   {send}",
        "See progress": "regionmir status",
        "Stop": "Ctrl-C",
    }
    console.print("\n[bold green]RegionMIR is ready.[/]")
    for name, value in lines.items():
        console.print(f"  {name:<13}", end="")
        console.print(value, markup=False)
    console.print()


def add_to(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(up)
