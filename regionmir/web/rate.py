"""How many requests a caller may send: a token bucket for each, in Redis, so that several web processes share it.

A script of ten lines, not a library: those that are well kept bring three more packages, and connect to Redis by
settings of their own, without the short timeouts that keep a request from waiting for a Redis that hangs.
"""

import hashlib
import time
from typing import Final

import redis
import structlog

from regionmir.queue import redis_client

log = structlog.get_logger(__name__)

_PAUSE_AFTER_FAILURE_S: Final = 5.0
_BUCKET: Final = """
local most, per_s = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
local kept = redis.call('HMGET', KEYS[1], 'left', 'at')
local left = math.min(most, (tonumber(kept[1]) or most) + (now - (tonumber(kept[2]) or now)) * per_s)
local wait = 0
if left >= 1 then left = left - 1 else wait = (1 - left) / per_s end
redis.call('HSET', KEYS[1], 'left', tostring(left), 'at', tostring(now))
redis.call('EXPIRE', KEYS[1], math.ceil(most / per_s) + 1)
return tostring(wait)
"""
"""Returns how many seconds to wait, 0 where the request may pass. The clock is Redis's own."""


class RateLimit:
    """Lets each caller send `per_minute` requests (0: any number), at most a tenth of them, or ten, at once.

    While Redis is away every request passes: it is a brake, not a lock.
    """

    def __init__(self, redis_url: str | None, per_minute: int) -> None:
        self._redis = redis_client(redis_url) if redis_url and per_minute else None
        self._script = self._redis.register_script(_BUCKET) if self._redis else None
        self._per_s = per_minute / 60
        self._most = max(10, per_minute // 10)
        self._closed_until = 0.0

    def wait_s(self, name: str) -> float:
        """Take one request of the caller `name`; return 0 if it may pass, else after how many seconds one may."""
        if self._script is None or time.monotonic() < self._closed_until:
            return 0.0
        key = "regionmir:rate:" + hashlib.sha256(name.encode()).hexdigest()[:32]
        try:
            return float(self._script(keys=[key], args=[self._most, self._per_s]))
        except (redis.RedisError, OSError) as error:
            self._closed_until = time.monotonic() + _PAUSE_AFTER_FAILURE_S
            log.warning("requests are not limited: Redis is away", error=type(error).__name__)
            return 0.0

    def close(self) -> None:
        """Close the connections to Redis."""
        if self._redis is not None:
            self._redis.close()
