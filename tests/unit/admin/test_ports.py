import socket
from collections.abc import Iterator
from threading import Event

import pytest

from dicom_node.__main__ import run
from regionmir.admin import checks
from regionmir.admin.findings import Level
from regionmir.admin.ports import require_free_ports, why_not_free
from regionmir.core.errors import ConfigurationError
from regionmir.core.settings import load_settings
from tests.support.ports import free_port


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_port_in_use_is_refused_with_the_setting_and_the_process_that_has_it(taken: int) -> None:
    with pytest.raises(
        ConfigurationError, match=rf"127.0.0.1:{taken} \(Address already in use by .*REGIONMIR_DICOM_PORT"
    ):
        require_free_ports(load_settings(dicom_port=taken, http_port=1024))


def test_one_port_for_both_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="the same port"):
        require_free_ports(load_settings(dicom_port=5555, http_port=5555))


def test_a_port_that_was_just_closed_is_free() -> None:
    port = free_port()
    with (
        socket.create_server(("127.0.0.1", port)) as listener,
        socket.create_connection(("127.0.0.1", port)),
        listener.accept()[0],
    ):
        pass
    assert why_not_free("127.0.0.1", port) is None


@pytest.mark.parametrize("host", ["no-such-host.invalid", "203.0.113.1"])
def test_an_address_that_is_not_ours_is_refused(host: str) -> None:
    assert why_not_free(host, 11112) is not None


@pytest.mark.parametrize(
    ("port", "what"),
    [
        ({"dicom_port": 9400}, "node port 9400, which is REGIONMIR_DICOM_PORT"),
        ({"http_port": 9401}, "index worker port 9401, which is REGIONMIR_HTTP_PORT"),
        (
            {"dicom_tls_port": 9405},
            "node 4 port 9405, which is REGIONMIR_DICOM_TLS_PORT: .* 9400 to 9405",
        ),
    ],
)
def test_a_port_for_figures_that_is_one_that_we_serve_at_is_refused(port: dict[str, int], what: str) -> None:
    settings = load_settings(metrics_port=9400, dicom_processes=4, **port)
    with pytest.raises(ConfigurationError, match=what):
        require_free_ports(settings)
    with pytest.raises(ConfigurationError, match=what):
        run(settings, Event())
    assert [(one.subject, one.level) for one in checks._ports(settings)][-1] == ("metrics ports", Level.FAIL)


def test_doctor_lists_the_ports_for_figures_and_warns_of_one_that_is_taken(taken: int) -> None:
    settings = load_settings(metrics_port=taken - 3, dicom_processes=2, dicom_port=1024, http_port=1025)
    told = list(checks._ports(settings))[-1]
    assert (told.level, told.subject) == (Level.WARN, "metrics ports")
    assert f"{taken} in use" in told.found
    assert f"{taken - 3} node, {taken - 2} index worker, {taken - 1} light worker, {taken} node 2" in told.found
