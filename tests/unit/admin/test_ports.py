import socket
from collections.abc import Iterator

import pytest

from regionmir.admin.ports import require_free_ports, why_not_free
from regionmir.core.errors import ConfigurationError
from regionmir.core.settings import load_settings


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


def test_a_port_that_was_just_closed_is_free(taken: int) -> None:
    with socket.create_connection(("127.0.0.1", taken)):
        pass
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert why_not_free("127.0.0.1", port) is None


@pytest.mark.parametrize("host", ["no-such-host.invalid", "203.0.113.1"])
def test_an_address_that_is_not_ours_is_refused(host: str) -> None:
    assert why_not_free(host, 11112) is not None
