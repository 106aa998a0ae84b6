"""The client of the JSON API against answers made up here: what it retries, what its errors say."""

from collections.abc import Callable, Iterator

import httpx
import pytest

from regionmir import client
from regionmir.client import Box, ClientError, RegionMir

ANSWER = {
    "code": "ABCD1234",
    "disclosure": "pseudonymous",
    "regions": ["LLLZ"],
    "combine": "similarity",
    "box": None,
    "indexed": 1,
    "total": 2,
    "anchor": None,
    "hits": [],
}
Answering = Callable[..., RegionMir]


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Iterator[Answering]:
    """Return a maker of clients whose requests get these answers, in order; what was asked is in `asked`."""
    made: list[RegionMir] = []

    def make(*answers: httpx.Response, **options: float) -> RegionMir:
        waiting = list(answers)
        mir = RegionMir("http://test/", "rgn_x", **options)
        mir.close()
        transport = httpx.MockTransport(lambda request: asked.append(request) or waiting.pop(0))
        mir._http = httpx.Client(base_url="http://test", headers=mir._http.headers, transport=transport)
        made.append(mir)
        return mir

    asked.clear()
    monkeypatch.setattr(client, "_PAUSE_S", 0.0)
    yield make
    for mir in made:
        mir.close()


asked: list[httpx.Request] = []


def refusal(status: int, code: str) -> httpx.Response:
    body = {"title": "Title", "detail": "do this", "code": code, "status": status, "type": "urn:x"}
    return httpx.Response(status, json=body, headers={"Retry-After": "0"})


def test_a_box_that_is_still_being_embedded_is_asked_for_again(answering: Answering) -> None:
    answers = refusal(409, "box-waiting"), refusal(429, "too-many-requests"), httpx.Response(200, json=ANSWER)
    with answering(*answers) as mir:
        assert mir.similar("4711", box=Box(1, 2, 3, 4)).code == "ABCD1234"
    assert len(asked) == 3
    assert asked[2].read() == asked[0].read()
    assert b'"box":{"x0":1,"y0":2,"x1":3,"y1":4}' in asked[0].read()
    assert asked[0].headers["Authorization"] == "Bearer rgn_x"


def test_patience_ends(answering: Answering) -> None:
    with answering(refusal(409, "box-waiting"), patience_s=-1) as mir, pytest.raises(ClientError) as found:
        mir.similar("4711", ["LLLZ"])
    assert (found.value.status, found.value.code) == (409, "box-waiting")


def test_what_time_does_not_cure_is_raised_at_once_with_what_to_do(answering: Answering) -> None:
    with answering(refusal(404, "unknown-anchor")) as mir, pytest.raises(ClientError, match="do this") as found:
        mir.similar("4711", ["LLLZ"])
    assert (found.value.status, found.value.code) == (404, "unknown-anchor")


def test_an_answer_of_something_else_is_an_error_too(answering: Answering) -> None:
    with answering(httpx.Response(502, text="<html>proxy")) as mir, pytest.raises(ClientError, match="proxy") as found:
        mir.regions()
    assert found.value.status == 502


def test_a_server_that_is_not_there_is_named() -> None:
    with RegionMir("http://127.0.0.1:9") as mir, pytest.raises(ClientError, match=r"127\.0\.0\.1:9.*regionmir up"):
        mir.health()


def test_ids_cannot_leave_their_part_of_the_path(answering: Answering) -> None:
    with answering(refusal(404, "unknown-anchor")) as mir, pytest.raises(ClientError):
        mir.result_set("../instances?x")
    assert asked[0].url.raw_path == b"/api/v1/result-sets/..%2Finstances%3Fx"


def test_a_health_that_is_not_ready_is_an_answer(answering: Answering) -> None:
    body = {"version": "1", "ready": False, "missing": {"model": "none"}}
    with answering(httpx.Response(503, json=body)) as mir:
        assert mir.health().missing == {"model": "none"}
