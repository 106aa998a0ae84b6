"""Names of tasks, their payloads, and the protocol by which a process wakes the workers.

A task is only a hint that rows are waiting: losing it loses no work, running it twice does nothing.
"""

import time
from typing import Any, Protocol

import redis
from celery import Celery
from kombu.exceptions import KombuError
from redis.backoff import NoBackoff
from redis.retry import Retry

from regionmir.core.errors import BrokerUnavailable, ConfigurationError
from regionmir.sentinels import SCHEME, parse_sentinels

INDEX_QUEUE = "index"
SEARCH_QUEUE = "search"
LIGHT_QUEUE = "light"

TASK_INDEX = "regionmir.index"
TASK_SEARCH = "regionmir.search"
TASK_EXPLAIN = "regionmir.explain"
TASK_RECONCILE = "regionmir.reconcile"

VISIBILITY_TIMEOUT_S = 120
"""A task that a dead worker had fetched but not started is given to another after this time. Tasks are acknowledged
when they start, so a long one is never given out twice; a retry waits less than this (`workers.tasks`)."""

ENOUGH_WAITING = 32
"""With so many wake-ups waiting another adds nothing: each worker drains the table, so one for each is enough."""

_SOCKET_TIMEOUT_S = 0.5
_PAUSE_AFTER_FAILURE_S = 2.0
_BROKER_ERRORS = (redis.RedisError, KombuError, OSError)


class IndexQueue(Protocol):
    """Wakes index workers."""

    def wake(self) -> None:
        """Say that instances in state `received` are waiting. Raises `BrokerUnavailable`."""

    def wake_search(self) -> None:
        """Say that a drawn box is waiting to be embedded. Raises `BrokerUnavailable`."""

    def depth(self) -> int:
        """Return how many wake-ups wait on the broker. Raises `BrokerUnavailable`."""


class CeleryQueue:
    """Wakes index workers through Celery. Safe for many threads; no call takes longer than about a second.

    After a failure the broker is left alone for two seconds, so that a broker that hangs slows down no association.
    """

    def __init__(self, redis_url: str) -> None:
        self._app = broker_app(redis_url, {"max_retries": 0, "socket_timeout": _SOCKET_TIMEOUT_S})
        self._redis = redis_client(redis_url)
        self._closed_until = 0.0

    def wake(self) -> None:
        """Say that instances in state `received` are waiting. Raises `BrokerUnavailable`."""
        self._send(TASK_INDEX, INDEX_QUEUE)

    def wake_search(self) -> None:
        """Say that a drawn box is waiting to be embedded. Raises `BrokerUnavailable`."""
        self._send(TASK_SEARCH, SEARCH_QUEUE)

    def wake_explain(self) -> None:
        """Say that a pair is waiting for its similarity maps. Raises `BrokerUnavailable`."""
        self._send(TASK_EXPLAIN, SEARCH_QUEUE)

    def depth(self) -> int:
        """Return how many wake-ups wait on the broker. Raises `BrokerUnavailable`."""
        self._refuse_while_pausing()
        try:
            return int(self._redis.llen(INDEX_QUEUE))
        except _BROKER_ERRORS as error:
            raise self._unavailable(error) from error

    def close(self) -> None:
        """Close the connections to the broker."""
        self._app.close()
        self._redis.close()

    def _send(self, task: str, queue: str) -> None:
        self._refuse_while_pausing()
        try:
            if self._redis.llen(queue) < ENOUGH_WAITING:
                self._app.send_task(task, queue=queue, retry=False, ignore_result=True)
        except _BROKER_ERRORS as error:
            raise self._unavailable(error) from error

    def _refuse_while_pausing(self) -> None:
        if time.monotonic() < self._closed_until:
            raise BrokerUnavailable("Redis failed a moment ago")

    def _unavailable(self, error: Exception) -> BrokerUnavailable:
        self._closed_until = time.monotonic() + _PAUSE_AFTER_FAILURE_S
        return BrokerUnavailable(f"Redis cannot be reached ({type(error).__name__})")


def broker_app(redis_url: str, transport_options: dict[str, Any] | None = None) -> Celery:
    """Return a Celery application on this broker, the same for who sends tasks and who runs them.

    Messages are JSON, there are no results, and nothing is connected yet. Raises `ConfigurationError` for a URL that
    Celery's Redis transport does not know.
    """
    if not redis_url.startswith(("redis://", "rediss://", "redis+socket://", SCHEME)):
        raise ConfigurationError("redis_url must begin with redis://, rediss://, redis+socket:/// or sentinel://")
    broker, behind = redis_url, {}
    if redis_url.startswith(SCHEME):
        sentinels = parse_sentinels(redis_url)
        broker, behind = sentinels.celery_url(), {"master_name": sentinels.master}
    app = Celery("regionmir", broker=broker, set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        broker_transport_options={
            "visibility_timeout": VISIBILITY_TIMEOUT_S,
            "socket_keepalive": True,
            "socket_connect_timeout": _SOCKET_TIMEOUT_S,
            **behind,
            **(transport_options or {}),
        },
    )
    return app


def redis_client(redis_url: str) -> "redis.Redis":
    """Return a client of the broker's Redis that neither waits long nor tries again. Raises `ConfigurationError`."""
    if redis_url.startswith(SCHEME):
        at_once = Retry(NoBackoff(), 0)
        return parse_sentinels(redis_url).client(
            socket_timeout=_SOCKET_TIMEOUT_S, socket_connect_timeout=_SOCKET_TIMEOUT_S, retry=at_once
        )
    return redis.Redis.from_url(
        _redis_py_url(redis_url),
        socket_timeout=_SOCKET_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
    )


def _redis_py_url(redis_url: str) -> str:
    """Return the URL as redis-py writes it: Celery says `redis+socket:///path?virtual_host=1`, it `unix:///path?db=1`."""
    if not redis_url.startswith("redis+socket://"):
        return redis_url
    return "unix://" + redis_url.removeprefix("redis+socket://").replace("virtual_host=", "db=")
