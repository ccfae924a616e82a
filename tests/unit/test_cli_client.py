"""The API's client, against a real server that gives prepared answers."""

import socket
from collections.abc import Iterator

import pytest

from api.cli.client import Client, patiently
from api.cli.errors import ApiError, UnreachableError
from tests.canned_server import PROBLEM, Answer, CannedServer, canned_server


@pytest.fixture
def server() -> Iterator[CannedServer]:
    with canned_server() as running:
        yield running


@pytest.fixture
def client(server: CannedServer) -> Iterator[Client]:
    with Client(server.url, "secret") as made:
        yield made


def test_pages_are_followed_on_the_named_server_when_the_link_names_another(
    server: CannedServer, client: Client
) -> None:
    elsewhere = '<http://elsewhere.invalid/api/v1/jobs?cursor=c1&limit=500>; rel="next"'
    server.answer(
        "GET /api/v1/jobs",
        Answer({"items": [{"id": "a"}], "next": "c1"}, headers={"Link": elsewhere}),
        Answer({"items": [{"id": "b"}], "next": None}),
    )

    answer = client.collect("/api/v1/jobs", {"state": "done"})

    assert answer == {"items": [{"id": "a"}, {"id": "b"}], "next": None}
    assert server.paths() == ["GET /api/v1/jobs?limit=500&state=done", "GET /api/v1/jobs?cursor=c1&limit=500"]
    assert {one.headers["Authorization"] for one in server.asked} == {"Bearer secret"}


def test_collect_stops_when_enough_items_are_there(server: CannedServer, client: Client) -> None:
    link = {"Link": '</api/v1/jobs?cursor=c1>; rel="next"'}
    server.answer("GET /api/v1/jobs", Answer({"items": [{"id": "a"}], "next": "c1"}, headers=link))

    answer = client.collect("/api/v1/jobs", limit=1)

    assert answer == {"items": [{"id": "a"}], "next": "c1"}
    assert server.paths() == ["GET /api/v1/jobs?limit=1"]


@pytest.mark.parametrize(
    ("errors", "said"),
    [
        ([{"pointer": "/model", "detail": "is missing"}], "The job names no model."),
        ([{"pointer": "/x", "detail": "names no model"}], "The job names no model."),
        ([{"pointer": "/lane", "detail": "is unknown"}], "The job names no model; /lane: is unknown"),
    ],
)
def test_problem_becomes_one_sentence_when_the_api_refuses(
    server: CannedServer, client: Client, errors: list[dict[str, str]], said: str
) -> None:
    problem = {
        "title": "Unprocessable Content",
        "status": 422,
        "detail": "The job names no model.",
        "errors": errors,
    }
    server.answer("POST /api/v1/jobs", Answer(problem, 422, PROBLEM))

    with pytest.raises(ApiError) as caught:
        client.post("/api/v1/jobs", {})

    assert caught.value.message == said
    assert caught.value.status == 422
    assert caught.value.problem == problem


@pytest.mark.parametrize("body", [b"<html>Bad gateway</html>", b"[]", b""])
def test_refusal_is_told_by_its_status_when_it_is_no_problem_document(
    server: CannedServer, client: Client, body: bytes
) -> None:
    server.answer("GET /x", Answer(body, 502))

    with pytest.raises(ApiError, match=r"^502 Bad Gateway$"):
        client.get("/x")


def test_answer_is_refused_when_it_is_not_json(server: CannedServer, client: Client) -> None:
    server.answer("GET /x", Answer(b"<html>hello</html>"))

    with pytest.raises(ApiError, match="is this address an Overread server"):
        client.get("/x")


def test_missing_server_is_unreachable() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"

    with Client(url, None) as client, pytest.raises(UnreachableError, match=f"no answer from {url}"):
        client.get("/x")


def test_patience_waits_as_long_as_the_server_asks(server: CannedServer, client: Client) -> None:
    busy = Answer({"detail": "busy"}, 503, PROBLEM | {"Retry-After": "7"})
    server.answer("GET /x", busy, Answer(breaks=True), Answer({"is": "there"}))
    waits: list[float] = []

    answer = patiently(lambda: client.get("/x"), 5, waits.append)

    assert answer == {"is": "there"}
    assert waits == [7.0, 1.0]


def test_patience_ends_when_the_refusal_is_final(server: CannedServer, client: Client) -> None:
    server.answer("GET /x", Answer({"detail": "no such thing"}, 404, PROBLEM))

    with pytest.raises(ApiError, match="no such thing"):
        patiently(lambda: client.get("/x"), 5, pytest.fail)


def test_patience_ends_when_its_attempts_are_used_up(server: CannedServer, client: Client) -> None:
    server.answer("GET /x", Answer({"detail": "busy"}, 503, PROBLEM))
    waits: list[float] = []

    with pytest.raises(ApiError, match="busy"):
        patiently(lambda: client.get("/x"), 3, waits.append)

    assert len(waits) == 2
