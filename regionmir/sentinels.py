"""The URL of a Redis behind Sentinels, `sentinel://host1:26379,host2:26379/0?master=NAME`, as others write it."""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import redis
from redis.sentinel import Sentinel

from regionmir.core.errors import ConfigurationError

SCHEME = "sentinel://"
_PORT = 26379
_HOST = re.compile(r"(?P<name>\[[0-9a-fA-F:]+\]|[^:\[\]]+)(:(?P<port>\d{1,5}))?")


@dataclass(frozen=True, slots=True)
class Sentinels:
    """Who is asked which Redis is the master, and how that one is then used."""

    hosts: tuple[tuple[str, int], ...]
    master: str
    database: int
    password: str | None

    def celery_url(self) -> str:
        """Return the URL as Celery writes it: one for each Sentinel, with semicolons between."""
        login = f":{quote(self.password, safe='')}@" if self.password else ""
        return ";".join(f"{SCHEME}{login}{host}:{port}/{self.database}" for host, port in self.hosts)

    def client(self, **options: object) -> redis.Redis:
        """Return a client of whichever Redis is the master when it is asked something."""
        asked: Any = Sentinel(list(self.hosts), sentinel_kwargs=dict(options))  # type: ignore[no-untyped-call]
        values = {"db": self.database, "password": self.password, **options}
        found = asked.master_for(self.master, redis_class=MasterRedis, **values)
        assert isinstance(found, MasterRedis)
        found.asked = asked
        return found


class MasterRedis(redis.Redis):
    """A client of the master; `close` closes the connections to the Sentinels too."""

    asked: Sentinel

    def close(self) -> None:
        super().close()
        for one in self.asked.sentinels:
            one.close()


def parse_sentinels(url: str) -> Sentinels:
    """Return what `url` says. Raises `ConfigurationError` without the URL: it may hold a password."""
    form = "redis_url looks like sentinel://host1:26379,host2:26379/0?master=NAME"
    parts = urlsplit(url)
    login, _, hosts = parts.netloc.rpartition("@")
    found = [_HOST.fullmatch(host) for host in hosts.split(",")]
    master = parse_qs(parts.query).get("master", [""])[0]
    database = parts.path.strip("/") or "0"
    if not master or not database.isdecimal() or not all(found):
        raise ConfigurationError(form)
    named = tuple((one["name"], int(one["port"] or _PORT)) for one in found if one is not None)
    return Sentinels(named, master, int(database), unquote(login.partition(":")[2]) or None)
