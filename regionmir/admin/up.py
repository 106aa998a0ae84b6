"""`regionmir up`: everything on one machine, until Ctrl-C."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from regionmir.admin import running
from regionmir.admin.backup.unfinished import require_whole
from regionmir.admin.database_checks import require_durable, update_pgvector
from regionmir.admin.launching import tied_to_us
from regionmir.admin.ports import require_free_ports
from regionmir.admin.postgres import START_TIMEOUT_S, LocalPostgres
from regionmir.admin.redis_server import LocalRedis
from regionmir.admin.sockets import remove_socket_folder, socket_folder
from regionmir.admin.supervision import NotReady, Program, Supervisor, end_leftovers
from regionmir.core.errors import ConfigurationError
from regionmir.core.settings import CONFIG_FILE_VARIABLE, Settings, config_file
from regionmir.web.signin.exposure import require_safe

_LONGEST_SOCKET_NAME = "index-worker"
_NEEDED = ("pynetdicom", "torch", "safetensors", "fastapi", "uvicorn")
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Local:
    """The servers that we run ourselves; None where a URL was given."""

    postgres: LocalPostgres | None
    redis: LocalRedis | None

    def settings(self, settings: Settings) -> Settings:
        """Return `settings` with the URLs of our own servers and without relative paths."""
        changes: dict[str, object] = {"data_dir": settings.data_dir.absolute()}
        if self.postgres is not None:
            changes["database_url"] = self.postgres.url
        if self.redis is not None:
            changes["redis_url"] = self.redis.url
        return settings.model_copy(update=changes)

    def programs(self) -> list[Program]:
        """Return the programs of our own servers; the first is stopped last."""
        found = []
        if self.postgres is not None:
            found.append(_postgres_program(self.postgres))
        if self.redis is not None:
            found.append(_redis_program(self.redis))
        return found


def run_up(settings: Settings, on_ready: Callable[[Settings], None]) -> None:
    """Run RegionMIR until SIGINT, SIGTERM or SIGHUP, and stop every process it started.

    `on_ready` is called with the settings in force when everything takes requests. Raises `ConfigurationError` if
    something cannot run; nothing is left running then either.
    """
    require_packages()
    require_safe(settings)
    require_whole(settings.data_dir)
    prepare_data_folder(settings)
    with running.only_one(settings):
        running.withdraw(settings)
        end_leftovers(settings.run_dir / "children.json")
        require_free_ports(settings)
        try:
            asyncio.run(_run(settings, on_ready))
        except NotReady as error:
            raise ConfigurationError(f"RegionMIR did not start: {error}") from None


def require_packages() -> None:
    """Raise `ConfigurationError` if a package is missing that one of the processes needs."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise ConfigurationError(f"not installed: {', '.join(missing)}; run `pip install 'regionmir[node,worker,web]'`")


def prepare_data_folder(settings: Settings) -> None:
    """Make the data folder, for its owner only. Raises `ConfigurationError` if it cannot be used."""
    try:
        for folder in (settings.data_dir, settings.run_dir):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if settings.data_dir.stat().st_mode & 0o077:
            settings.data_dir.chmod(0o700)
    except OSError as error:
        raise ConfigurationError(
            f"the data folder {settings.data_dir} cannot be used ({error.strerror}): set REGIONMIR_DATA_DIR"
        ) from None


def local_servers(settings: Settings) -> Local:
    """Return the servers to run for these settings."""
    return Local(
        None if settings.database_url else LocalPostgres(settings.data_dir / "postgres", settings.run_dir / "postgres"),
        None if settings.redis_url else LocalRedis(settings.run_dir / "redis"),
    )


async def _run(settings: Settings, on_ready: Callable[[Settings], None]) -> None:
    local = local_servers(settings)
    in_force = local.settings(settings)
    notices = settings.run_dir / "notices"
    supervisor = Supervisor(socket_folder(notices, _LONGEST_SOCKET_NAME), settings.run_dir / "children.json")
    for number in _STOP_SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, supervisor.request_stop)
    try:
        await supervisor.start(local.programs())
        if not supervisor.stopping:
            await _check_database(local, in_force)
            await _both(_migrate(in_force), supervisor.start(own_programs(in_force)))
        if not supervisor.stopping:
            running.publish(settings, _endpoints(in_force))
            on_ready(in_force)
        await supervisor.until_stopped()
    finally:
        running.withdraw(settings)
        await supervisor.stop()
        for server in (local.postgres, local.redis):
            if server is not None:
                server.remove_socket_folder()
        remove_socket_folder(notices)


async def _check_database(local: Local, settings: Settings) -> None:
    await asyncio.to_thread(require_durable, settings.require_database_url())
    if local.postgres is not None:
        await asyncio.to_thread(update_pgvector, local.postgres.admin_url)


async def _migrate(settings: Settings) -> None:
    """Bring the schema up to date in a process of its own; the others wait for it."""
    migration = await asyncio.create_subprocess_exec(
        *_python("regionmir.admin", "db", "upgrade"),
        env=environment(settings),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        _, said = await migration.communicate()
    finally:
        if migration.returncode is None:
            migration.terminate()
            await migration.wait()
    if migration.returncode != 0:
        raise ConfigurationError(said.decode(errors="replace").strip().removeprefix("regionmir: "))


async def _both(first: Coroutine[Any, Any, None], second: Coroutine[Any, Any, None]) -> None:
    """Wait for both; where one fails the other is given up, and its error is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(first)
            group.create_task(second)
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


def own_programs(settings: Settings) -> list[Program]:
    """Return the processes of RegionMIR itself; the last is stopped first."""
    variables = environment(settings)
    return [
        Program("index worker", _command("workers", "index", at_death=signal.SIGKILL), variables, stop_timeout_s=60.0),
        Program("light worker", _command("workers", "light", at_death=signal.SIGKILL), variables, stop_timeout_s=30.0),
        Program("node", _command("dicom_node"), variables, stop_timeout_s=30.0),
        Program("web", _command("regionmir.web"), variables),
    ]


def environment(settings: Settings) -> dict[str, str]:
    """Return the environment by which a child process has exactly these settings."""
    values = {name: getattr(settings, name) for name in Settings.model_fields}
    given = {f"REGIONMIR_{name.upper()}": str(value) for name, value in values.items() if value is not None}
    given.setdefault("REGIONMIR_LOG_JSON", str(not sys.stderr.isatty()))
    inherited = {k: v for k, v in os.environ.items() if not k.upper().startswith("REGIONMIR_")}
    return {**inherited, **given, CONFIG_FILE_VARIABLE: str(config_file().absolute())}


def _command(module: str, *arguments: str, at_death: signal.Signals = signal.SIGTERM) -> Callable[[], list[str]]:
    """Return what makes the command. `at_death`: SIGKILL for a worker, as the database and the broker, without which
    it can neither finish nor give back what it holds, go at the same moment."""
    return lambda: _python(module, *arguments, at_death=at_death)


def _python(module: str, *arguments: str, at_death: signal.Signals = signal.SIGTERM) -> list[str]:
    # -P: a folder named `models` where we happen to be started must not hide the package of that name
    return tied_to_us([sys.executable, "-P", "-m", module, *arguments], signal_at_death=at_death)


def _postgres_program(server: LocalPostgres) -> Program:
    return Program(
        "postgres",
        server.command,
        server.environment(),
        stop_signal=signal.SIGINT,
        stop_timeout_s=60.0,
        ready_timeout_s=START_TIMEOUT_S,
        prepare=server.initialise,
        is_ready=server.is_ready,
        may_be_killed=False,
        forward=True,
    )


def _redis_program(server: LocalRedis) -> Program:
    return Program("redis", server.command, server.environment(), is_ready=server.is_ready, forward=True)


def _endpoints(settings: Settings) -> running.Endpoints:
    return running.Endpoints(
        database_url=settings.require_database_url(),
        redis_url=settings.require_redis_url(),
        dicom_host=settings.dicom_host,
        dicom_port=settings.dicom_port,
        ae_title=settings.ae_title,
        http_host=settings.http_host,
        http_port=settings.http_port,
        pid=os.getpid(),
    )
