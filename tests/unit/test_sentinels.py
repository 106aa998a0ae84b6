"""Redis behind Sentinels: what its URL says."""

import pytest

from regionmir.core.errors import ConfigurationError
from regionmir.sentinels import Sentinels, parse_sentinels


def test_a_url_names_sentinels_master_database_and_password() -> None:
    found = parse_sentinels("sentinel://:s%2Fecret@one,two:26380,[::1]:26381/3?master=main")
    assert found == Sentinels((("one", 26379), ("two", 26380), ("[::1]", 26381)), "main", 3, "s/ecret")
    assert found.celery_url() == (
        "sentinel://:s%2Fecret@one:26379/3;sentinel://:s%2Fecret@two:26380/3;sentinel://:s%2Fecret@[::1]:26381/3"
    )


@pytest.mark.parametrize(
    "url", ["sentinel://one", "sentinel://?master=m", "sentinel://one:x?master=m", "sentinel://one/x?master=m"]
)
def test_what_is_no_such_url_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(ConfigurationError, match="master=NAME") as refused:
        parse_sentinels(url)
    assert "one:x" not in str(refused.value)
