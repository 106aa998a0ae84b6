"""The connection to PostgreSQL: one `Database` per process, one short session per unit of work."""

import json
import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from sqlalchemy import URL, create_engine, event, make_url, text
from sqlalchemy.exc import DBAPIError, InterfaceError, InvalidatePoolError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import ConnectionPoolEntry

from regionmir.core.errors import ConfigurationError, DatabaseUnavailable, StorageFull

if TYPE_CHECKING:
    from psycopg import Copy

__all__ = ["Database", "Session", "copying"]

_CONNECT = {
    "client_encoding": "utf8",
    "connect_timeout": 3,
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
_POOL_TIMEOUT_S = 10
_ASKED_AFTER_S = 1.0
"""A pooled connection that was idle for longer is asked whether it is alive before it is used."""

_DISK_FULL = "53100"
_PROGRAM_LIMIT = "54"  # SQLSTATE class: the statement itself is at fault, trying again does not help
_ON_CONNECT = """
SELECT set_config('timezone', 'UTC', false),
       set_config('lock_timeout', '30s', false),
       set_config('default_transaction_isolation', 'read committed', false),
       set_config('synchronous_commit',
                  CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on'
                  ELSE current_setting('synchronous_commit') END, false)
"""
# Whatever the server's defaults are: an acknowledged instance must be on disk, and after a conflict we look again


class Database:
    """Sessions on one PostgreSQL database. Nothing is connected before the first session.

    With `read_only` the server refuses every statement that writes.
    """

    def __init__(self, url: str, *, application_name: str, pool_size: int = 5, read_only: bool = False) -> None:
        self.url = driver_url(url)
        self.engine = create_engine(
            self.url,
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_timeout=_POOL_TIMEOUT_S,
            pool_use_lifo=True,  # a connection that was used just now has its statements prepared
            hide_parameters=True,
            json_serializer=as_json,
            connect_args={**_CONNECT, "application_name": application_name},
            execution_options={"postgresql_readonly": True} if read_only else {},
        )
        event.listen(self.engine, "connect", _prepare_connection)
        event.listen(self.engine, "checkout", self._on_checkout)
        event.listen(self.engine, "checkin", self._on_checkin)
        self._closed = False
        source = f"{application_name}@{socket.gethostname()}"  # AuditSourceID of what this process reports
        self._sessions = sessionmaker(self.engine, expire_on_commit=False, info={"audit_source": source})

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Yield a session in a transaction: committed on a clean exit, else rolled back.

        Raises `DatabaseUnavailable` where the server is away or gave up (`StorageFull`: its disk is full).
        """
        with mapped_errors(), self._sessions.begin() as session:
            yield session

    @contextmanager
    def single_statements(self) -> "Iterator[psycopg.Connection]":
        """Yield a connection on which each statement is a transaction of its own: it goes there and back once.

        Raises `DatabaseUnavailable` as `session`.
        """
        with mapped_errors(), _sqlalchemys_errors():
            pooled = self.engine.raw_connection()
            driver: Any = pooled.driver_connection
            try:
                driver.autocommit = True
                yield driver
            finally:
                if driver.closed:
                    pooled.invalidate()
                else:
                    driver.autocommit = False
                pooled.close()

    def wait_ready(self, deadline_s: float) -> None:
        """Return once the server answers. Raises `DatabaseUnavailable` after `deadline_s` seconds."""
        end = time.monotonic() + deadline_s
        while True:
            try:
                with self.session() as session:
                    session.execute(text("SELECT 1"))
                return
            except DatabaseUnavailable:
                if time.monotonic() >= end:
                    raise
                time.sleep(0.1)

    @contextmanager
    def listening(self, channel: str) -> Iterator[Callable[[str, float], bool]]:
        """Yield a function that waits for a notification with this payload on `channel`, so many seconds at most.

        It returns whether one came. The connection is one of the pool's while the block runs. Raises
        `DatabaseUnavailable`.
        """
        with mapped_errors(), self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text(f"LISTEN {channel}"))
            driver: Any = connection.connection.driver_connection

            def notified(payload: str, timeout_s: float) -> bool:
                end = time.monotonic() + timeout_s
                while (left := end - time.monotonic()) > 0:
                    if any(one.payload == payload for one in driver.notifies(timeout=left, stop_after=1)):
                        return True
                return False

            try:
                yield notified
            finally:
                connection.execute(text("UNLISTEN *"))

    def close(self) -> None:
        """Close all idle connections now, and one that is in use as soon as its session ends."""
        self._closed = True
        self.engine.dispose()

    def _on_checkout(self, connection: Any, record: ConnectionPoolEntry, _: object) -> None:
        """Have a connection replaced that the server has closed: it sends nothing else to one that is idle."""
        idle_since = record.info.get("idle_since")
        if idle_since is None:  # it is new
            return
        try:
            if time.monotonic() - idle_since > _ASKED_AFTER_S or _is_readable(connection):
                self.engine.dialect.do_ping(connection)
        except psycopg.Error as error:
            raise InvalidatePoolError from error

    def _on_checkin(self, _: object, record: ConnectionPoolEntry) -> None:
        record.info["idle_since"] = time.monotonic()
        if self._closed:
            record.invalidate()


@contextmanager
def copying(session: Session, statement: str) -> "Iterator[Copy]":
    """Yield the COPY of `statement`, in the transaction of `session`; errors are SQLAlchemy's, as of any statement."""
    with driver_of(session) as driver, driver.cursor() as cursor, cursor.copy(statement) as copy:
        yield copy


@contextmanager
def driver_of(session: Session) -> "Iterator[psycopg.Connection]":
    """Yield the driver's connection, in the transaction of `session`; errors are SQLAlchemy's."""
    driver: Any = session.connection().connection.driver_connection
    with _sqlalchemys_errors():
        yield driver


@contextmanager
def _sqlalchemys_errors() -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        raise DBAPIError.instance(None, None, error, psycopg.Error) from error


@contextmanager
def mapped_errors() -> Iterator[None]:
    """Turn the driver's errors about the server into ours; errors about a statement pass unchanged."""
    try:
        yield
    except PoolTimeout:
        raise DatabaseUnavailable("all database connections are in use") from None
    except (OperationalError, InterfaceError) as error:
        raise _ours(error) from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise DatabaseUnavailable("the database connection was lost") from error
        raise


def driver_url(url: str) -> URL:
    """Return `url` (postgresql://..., also with `?host=` for a unix socket) for psycopg.

    Raises `ConfigurationError`.
    """
    try:
        parsed = make_url(url)
    except Exception:  # the message may hold the password
        raise ConfigurationError("the database URL does not parse; it looks like postgresql://user@host/db") from None
    if parsed.get_backend_name() not in ("postgresql", "postgres"):
        raise ConfigurationError(f"the database must be PostgreSQL, not {parsed.get_backend_name()!r}")
    return parsed.set(drivername="postgresql+psycopg")


def _ours(error: DBAPIError) -> Exception:
    state = getattr(error.orig, "sqlstate", None) or ""
    if state == _DISK_FULL:
        return StorageFull("the disk of the database is full")
    if state.startswith(_PROGRAM_LIMIT):
        return error
    kind = type(error.orig).__name__ if error.orig is not None else type(error).__name__
    return DatabaseUnavailable(f"the database is not available ({kind}{' ' + state if state else ''})")


def _is_readable(connection: "psycopg.Connection") -> bool:
    poll = select.poll()
    poll.register(connection.pgconn.socket, select.POLLIN)
    return bool(poll.poll(0))


def _prepare_connection(connection: Any, _record: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_ON_CONNECT)
    connection.commit()


def as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
