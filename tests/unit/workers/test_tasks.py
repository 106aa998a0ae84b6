"""What a task is: a name, a queue, and when it is tried again."""

from pathlib import Path

import pytest

from regionmir.core.errors import ConfigurationError, DatabaseUnavailable
from regionmir.core.settings import Settings
from regionmir.queue import TASK_INDEX, TASK_RECONCILE, VISIBILITY_TIMEOUT_S, CeleryQueue
from workers.app import make_app
from workers.tasks import RETRY_AT_MOST_S, add_index_task, add_reconcile_task


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, redis_url=f"redis+socket://{tmp_path}/s")


def test_the_visibility_timeout_is_set_and_longer_than_any_pause_before_a_retry(settings: Settings) -> None:
    app = make_app(settings)
    assert app.conf.broker_transport_options["visibility_timeout"] == VISIBILITY_TIMEOUT_S
    with app.connection_for_read() as connection:
        assert connection.transport_options["visibility_timeout"] == VISIBILITY_TIMEOUT_S
    assert VISIBILITY_TIMEOUT_S > 2 * RETRY_AT_MOST_S


def test_only_json_is_accepted_and_tasks_are_acknowledged_when_they_start(settings: Settings) -> None:
    conf = make_app(settings).conf
    assert conf.accept_content == ["json"]
    assert conf.task_serializer == "json"
    assert conf.task_acks_late is False
    assert conf.worker_prefetch_multiplier == 1
    assert conf.broker_connection_max_retries is None


def test_transient_errors_are_retried_and_no_others(settings: Settings) -> None:
    app = make_app(settings)
    calls = []

    def drain() -> None:
        calls.append(1)
        if len(calls) < 3:
            raise DatabaseUnavailable("away")
        raise ValueError("a fault of ours")

    add_index_task(app, drain)
    add_reconcile_task(app, drain)
    app.conf.update(task_always_eager=True)
    outcome = app.tasks[TASK_INDEX].apply()
    assert outcome.failed()
    assert isinstance(outcome.result, ValueError)
    assert len(calls) == 3
    assert app.tasks[TASK_RECONCILE].retry_backoff_max == RETRY_AT_MOST_S


def test_a_worker_without_a_broker_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="REGIONMIR_REDIS_URL"):
        make_app(Settings(data_dir=tmp_path))
    with pytest.raises(ConfigurationError, match="redis"):
        CeleryQueue("amqp://localhost")
