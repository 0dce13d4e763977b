"""TF Serving's REST API, asked of a server that answers as its documentation says."""

import socket
from collections.abc import Iterator
from contextlib import closing
from threading import Event
from typing import Any

import numpy as np
import pytest

from serving.client.client import Client
from serving.client.errors import ClientError, RejectedInputError
from serving.client.rest_client import RestEndpoint


@pytest.fixture
def endpoint(rest_server: Any) -> Iterator[RestEndpoint]:
    with closing(RestEndpoint(rest_server.url, "digits")) as opened:
        yield opened


def ask(endpoint: RestEndpoint) -> None:
    endpoint.ask("serving_default", "image_bytes", [b"\x89PNG"])


def test_images_are_answered(rest_server: Any, endpoint: RestEndpoint, column_outputs: dict[str, Any]) -> None:
    rest_server.respond = lambda request: (200, {"outputs": column_outputs})
    answers = Client(endpoint).predict([b"\x89PNG", b"\xff\xd8"])
    assert [(answer.digit, answer.status, answer.model_version) for answer in answers] == [
        (7, "ok", None),
        (-1, "blank", None),
    ]
    assert rest_server.requests == [
        (
            "/v1/models/digits:predict",
            {"signature_name": "serving_default", "inputs": {"image_bytes": [{"b64": "iVBORw=="}, {"b64": "/9g="}]}},
        )
    ]


def test_a_single_output_comes_without_its_name(rest_server: Any, endpoint: RestEndpoint) -> None:
    rest_server.respond = lambda request: (200, {"outputs": np.ones((1, 28, 28)).tolist()})
    assert Client(endpoint).normalize([b"a"]).shape == (1, 28, 28)


def test_a_version_is_asked_for_by_its_path(rest_server: Any, column_outputs: dict[str, Any]) -> None:
    rest_server.respond = lambda request: (200, {"outputs": column_outputs})
    with closing(RestEndpoint(rest_server.url + "/", "digits", 17)) as endpoint:
        assert Client(endpoint).predict([b"a", b"b"])[0].model_version == 17
    assert rest_server.requests[0][0] == "/v1/models/digits/versions/17:predict"


def test_a_wrong_image_is_told_from_a_wrong_server(rest_server: Any, endpoint: RestEndpoint) -> None:
    rest_server.respond = lambda request: (400, {"error": "image 0 is no image"})
    with pytest.raises(RejectedInputError, match=r"^image 0 is no image$"):
        ask(endpoint)
    rest_server.respond = lambda request: (413, {"error": "too large"})
    with pytest.raises(RejectedInputError, match=r"^too large$"):
        ask(endpoint)
    rest_server.respond = lambda request: (500, {"error": "out of memory"})
    with pytest.raises(ClientError, match=r"^http://127.* failed with HTTP 500: out of memory$"):
        ask(endpoint)


def test_a_model_that_is_not_served(rest_server: Any) -> None:
    rest_server.respond = lambda request: (404, {"error": "Servable not found for request: Specific(digits, 17)"})
    with (
        closing(RestEndpoint(rest_server.url, "digits", 17)) as endpoint,
        pytest.raises(ClientError, match=r"does not serve 'digits', version 17: Servable not .*/v1/models/digits says"),
    ):
        ask(endpoint)


def test_another_kind_of_server(rest_server: Any, endpoint: RestEndpoint) -> None:
    rest_server.respond = lambda request: (200, b"<html>")
    with pytest.raises(ClientError, match=r"does not speak TF Serving's REST API: it answers HTTP 200 without JSON"):
        ask(endpoint)
    rest_server.respond = lambda request: (200, {"predictions": []})
    with pytest.raises(ClientError, match=r"REST API: its answer has predictions, expected `outputs`\. Check host"):
        ask(endpoint)


def test_a_server_that_restarts_is_asked_again(
    rest_server: Any, endpoint: RestEndpoint, column_outputs: dict[str, Any]
) -> None:
    statuses = iter([503, 503, 200])
    rest_server.respond = lambda request: (next(statuses), {"outputs": column_outputs})
    assert len(Client(endpoint).predict([b"a", b"b"])) == 2
    rest_server.respond = lambda request: (503, {"error": "stopping"})
    with pytest.raises(ClientError, match=r"failed with HTTP 503: stopping$"):
        ask(endpoint)
    assert len(rest_server.requests) == 3 + 4


def test_nobody_is_there() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with (
            closing(RestEndpoint(url, "digits")) as endpoint,
            pytest.raises(ClientError, match=rf"^{url} cannot be reached; start a server with `digits serve`, or"),
        ):
            ask(endpoint)


def test_a_server_that_does_not_answer_is_not_waited_for(rest_server: Any) -> None:
    done = Event()
    rest_server.respond = lambda request: (200, {"waited": done.wait()})
    with closing(RestEndpoint(rest_server.url, "digits", timeout_seconds=0.2)) as endpoint:
        with pytest.raises(ClientError, match=r"has not answered within 0\.2 s; look at the server, or try again"):
            ask(endpoint)
        done.set()
    assert len(rest_server.requests) == 1


def test_an_url_that_is_none() -> None:
    with (
        closing(RestEndpoint("http://[", "digits")) as endpoint,
        pytest.raises(ClientError, match=r"expected a URL such as http://localhost:8501"),
    ):
        ask(endpoint)
