from collections.abc import Iterator
from contextlib import closing
from threading import Event
from typing import Any

import numpy as np
import pytest

from serving.client.client import ClientError, RejectedInputError
from serving.client.rest_client import RestClient


@pytest.fixture
def client(rest_server: Any) -> Iterator[RestClient]:
    with closing(RestClient(rest_server.url, "digits")) as opened:
        yield opened


def test_images_are_answered(rest_server: Any, client: RestClient, column_outputs: dict[str, Any]) -> None:
    rest_server.respond = lambda request: (200, {"outputs": column_outputs})
    answers = client.predict([b"\x89PNG", b"\xff\xd8"])
    assert [(answer.label, answer.classes[1], answer.status, answer.model_version) for answer in answers] == [
        ("é", "é", "ok", None),
        ("", "é", "blank", None),
    ]
    assert rest_server.requests == [
        (
            "/v1/models/digits:predict",
            {"signature_name": "serving_default", "inputs": {"image_bytes": [{"b64": "iVBORw=="}, {"b64": "/9g="}]}},
        )
    ]


def test_a_single_output_has_no_name(rest_server: Any, client: RestClient) -> None:
    rest_server.respond = lambda request: (200, {"outputs": np.ones((1, 28, 28)).tolist()})
    assert client.normalize([b"a"]).shape == (1, 28, 28)


def test_a_version_can_be_chosen(rest_server: Any, column_outputs: dict[str, Any]) -> None:
    rest_server.respond = lambda request: (200, {"outputs": column_outputs})
    with closing(RestClient(rest_server.url + "/", "digits", 17)) as client:
        assert client.predict([b"a", b"b"])[0].model_version == 17
        rest_server.respond = lambda request: (404, {"error": "Servable not found"})
        message = r"does not serve 'digits', version 17: Servable not found.*/v1/models/digits lists the versions"
        with pytest.raises(ClientError, match=message):
            client.predict([b"a"])
    assert rest_server.requests[0][0] == "/v1/models/digits/versions/17:predict"


@pytest.mark.parametrize(
    ("status", "body", "error", "message"),
    [
        (400, {"error": "not an image"}, RejectedInputError, r"^not an image$"),
        (413, {"error": "too large"}, RejectedInputError, r"^too large$"),
        (500, {"error": "out of memory"}, ClientError, r"^http://127.* failed with HTTP 500: out of memory$"),
        (200, b"<html>", ClientError, r"does not have TF Serving's REST API: it returned HTTP 200 without JSON"),
        (200, {"predictions": []}, ClientError, r"its response has predictions, expected `outputs`\. Check host and"),
    ],
)
def test_errors_of_the_server(
    rest_server: Any, client: RestClient, status: int, body: Any, error: type[Exception], message: str
) -> None:
    rest_server.respond = lambda request: (status, body)
    with pytest.raises(error, match=message):
        client.predict([b"a"])


def test_requests_to_a_restarting_server_are_retried(
    rest_server: Any, client: RestClient, column_outputs: dict[str, Any]
) -> None:
    statuses = iter([503, 429, 200])
    rest_server.respond = lambda request: (next(statuses), {"outputs": column_outputs})
    assert len(client.predict([b"a", b"b"])) == 2
    rest_server.respond = lambda request: (503, {"error": "stopping"})
    with pytest.raises(ClientError, match=r"failed with HTTP 503: stopping$"):
        client.predict([b"a"])
    assert len(rest_server.requests) == 3 + 4


def test_a_server_that_cannot_be_reached(unused_address: str) -> None:
    message = rf"^http://{unused_address} cannot be reached; start a server with `digits serve`, or check .* at 8501\)"
    with closing(RestClient(f"http://{unused_address}", "digits")) as client, pytest.raises(ClientError, match=message):
        client.predict([b"a"])


def test_a_server_that_does_not_answer_in_time(rest_server: Any) -> None:
    done = Event()
    rest_server.respond = lambda request: (200, {"waited": done.wait()})
    with closing(RestClient(rest_server.url, "digits", timeout_seconds=0.2)) as client:
        with pytest.raises(ClientError, match=r"has not answered within 0\.2 s; check the server, or try again"):
            client.predict([b"a"])
        done.set()
    assert len(rest_server.requests) == 1


@pytest.mark.parametrize("answer", [None, (502, b"<html>"), (403, {"error": "denied"})])
def test_a_proxy_in_the_way_is_named(
    rest_server: Any, unused_address: str, monkeypatch: pytest.MonkeyPatch, answer: tuple[int, Any] | None
) -> None:
    proxy = rest_server.url if answer else f"http://{unused_address}"
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    rest_server.respond = lambda request: answer
    message = (
        rf"go through the proxy {proxy}, which HTTP_PROXY or ALL_PROXY names; to avoid it, set NO_PROXY=model.test"
    )
    with closing(RestClient("http://model.test:8501", "digits")) as client, pytest.raises(ClientError, match=message):
        client.predict([b"a"])


def test_an_invalid_url() -> None:
    with (
        closing(RestClient("http://[", "digits")) as client,
        pytest.raises(ClientError, match=r"expected a URL such as http://localhost:8501"),
    ):
        client.predict([b"a"])
