"""TF Serving's REST API over real sockets: https://www.tensorflow.org/tfx/serving/api_rest."""

import base64
import gzip
import json
import re
import socket
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from serving.server import rest
from serving.server.rest import WEB_DIRECTORY, find_page_files
from serving.server.rest_bodies import parse_predict_body

Running = Any

CORS = {
    "Access-Control-Allow-Methods": "POST, GET",
    "Access-Control-Allow-Headers": "Content-Type",
}

PIXELS = {"signature_name": "pixels"}
ZEROS = np.zeros((1, 28, 28)).tolist()


@pytest.fixture(scope="session")
def session() -> Iterator[requests.Session]:
    with requests.Session() as opened:
        yield opened


@pytest.fixture
def post(running: Running, session: requests.Session) -> Iterator[Callable[..., requests.Response]]:
    """Also checks after each test that the server still answers a good request."""

    def send(body: Any, path: str = ":predict", **options: Any) -> requests.Response:
        data = body if not isinstance(body, dict) else json.dumps(body)
        return session.post(running.model_url + path, data=data, timeout=60, **options)

    yield send
    assert send({**PIXELS, "instances": ZEROS}).json()["predictions"][0]["label"] == "2"


@pytest.fixture
def get(running: Running, session: requests.Session) -> Callable[[str], requests.Response]:
    return lambda path: session.get(running.addresses.rest_url + path, timeout=60)


def test_the_version_that_parses_a_request_answers_it(
    tiny_model: Callable[..., Path],
    run_in_thread: Callable[..., Any],
    session: requests.Session,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "digits").mkdir()
    tiny_model(tmp_path / "digits", 3)

    def parse_slowly(*arguments: Any) -> Any:
        parsed = parse_predict_body(*arguments)
        if not (tmp_path / "digits" / "4").exists():
            tiny_model(tmp_path / "digits", 4)
            while "digits: version 4 is available" not in server.said:
                time.sleep(0.01)
        return parsed

    monkeypatch.setattr(rest, "parse_predict_body", parse_slowly)
    monkeypatch.setattr(rest, "LARGE_REQUEST_BYTES", 0)
    with run_in_thread(tmp_path) as server:
        answers = [
            session.post(f"{server.model_url}:predict", json={**PIXELS, "instances": ZEROS}, timeout=60).json()
            for _ in range(2)
        ]
    assert [answer["predictions"][0]["label"] for answer in answers] == ["3", "4"]


def test_predict_in_row_format(post: Callable, png: bytes) -> None:
    answer = post({"instances": [{"b64": base64.b64encode(png).decode()}] * 2})
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    one_hot = [0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    classes = list("0123456789")
    row = {"label": "2", "classes": classes, "confidence": 2.0, "status": "ok", "probabilities": one_hot}
    assert answer.json() == {"predictions": [row, row]}


def test_predict_in_column_format(post: Callable, pixels: np.ndarray) -> None:
    answer = post({"signature_name": "pixels", "inputs": {"image": pixels.tolist()}})
    assert answer.json()["outputs"]["label"] == ["2", "2"]


@pytest.mark.parametrize(
    ("classes", "image_shape"),
    [(tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ"), (28, 28)), (("Ärger", "日本", "a b"), (8, 12, 3))],
)
def test_models_with_any_classes_and_image_shape(
    tiny_model: Callable[..., Path],
    run_in_thread: Callable[..., Any],
    session: requests.Session,
    tmp_path: Path,
    classes: tuple[str, ...],
    image_shape: tuple[int, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "digits").mkdir()
    tiny_model(tmp_path / "digits", 1, classes, image_shape)
    images = np.random.default_rng(0).uniform(0, 255, (2, *image_shape)).tolist()
    row = {
        "label": classes[1],
        "classes": list(classes),
        "confidence": 1,
        "status": "ok",
        "probabilities": [float(name == classes[1]) for name in classes],
    }
    with run_in_thread(tmp_path) as server:

        def post(body: dict[str, Any]) -> dict[str, Any]:
            return session.post(f"{server.model_url}:predict", json={**PIXELS, **body}, timeout=60).json()

        for _ in range(2):
            for rows in (images, [{"image": image} for image in images]):
                assert post({"instances": rows}) == {"predictions": [row, row]}
            for columns in (images, {"image": images}):
                assert post({"inputs": columns}) == {"outputs": {name: [value] * 2 for name, value in row.items()}}
            # Then in a thread, as for large answers.
            monkeypatch.setattr(rest, "LARGE_ANSWER_VALUES", 0)
        assert "not compatible with expected shape" in post({"instances": ZEROS[0]})["error"]
        metadata = session.get(f"{server.model_url}/metadata", timeout=60).json()["metadata"]
    signature = metadata["signature_def"]["signature_def"]["pixels"]
    shapes = [signature["inputs"]["image"], signature["outputs"]["classes"]]
    sizes = [[int(dim["size"]) for dim in info["tensor_shape"]["dim"]] for info in shapes]
    assert sizes == [[-1, *image_shape], [-1, len(classes)]]


def test_normalize_returns_the_image_that_the_model_sees(post: Callable, png: bytes, pixels: np.ndarray) -> None:
    answer = post({"signature_name": "normalize", "instances": [{"b64": base64.b64encode(png).decode()}]})
    image = answer.json()["predictions"]
    assert np.array(image).shape == (1, 28, 28)
    assert np.array(image).max() > 200


@pytest.mark.parametrize(
    ("path", "label"), [("", "2"), ("/versions/1", "1"), ("/versions/2", "2"), ("/labels/stable", "1")]
)
def test_a_version_is_chosen_by_number_or_label(post: Callable, pixels: np.ndarray, path: str, label: str) -> None:
    answer = post({"signature_name": "pixels", "instances": pixels.tolist()}, f"{path}:predict")
    assert answer.json()["predictions"][0]["label"] == label


def test_status_of_all_versions_or_one(get: Callable) -> None:
    def available(version: str) -> dict[str, Any]:
        return {"version": version, "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}

    assert get("/v1/models/digits").json() == {"model_version_status": [available("2"), available("1")]}
    for path in ("/versions/1", "/labels/stable"):
        assert get(f"/v1/models/digits{path}").json() == {"model_version_status": [available("1")]}


def test_metadata_describes_the_signatures(get: Callable) -> None:
    metadata = get("/v1/models/digits/versions/1/metadata").json()
    assert metadata["model_spec"] == {"name": "digits", "signature_name": "", "version": "1"}
    signature = metadata["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["method_name"] == "tensorflow/serving/predict"
    shape = {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False}
    expected = {"dtype": "DT_STRING", "tensor_shape": shape, "name": "encoded:0"}
    assert signature["inputs"]["image_bytes"] == expected


def test_paths_may_be_encoded_and_in_any_case(get: Callable) -> None:
    assert get("/V1/Models/digits").status_code == 200
    assert get("/v1/models/a%20b").json() == {"error": "Could not find any versions of model a b"}


@pytest.fixture(scope="session")
def allowing(run_in_thread: Callable, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server without models that other hosts may use."""
    hosts = frozenset({"digits.test", "192.0.2.1", "2001:db8::1"})
    with run_in_thread(tmp_path_factory.mktemp("empty"), allowed_hosts=hosts) as server:
        yield server


LOOPBACK_HOSTS = ["localhost", "LOCALHOST:1", "127.0.0.1:8501", "[::1]", "[::1]:8501"]
OTHER_HOSTS = ["digits.test", "digits.test:1", "192.0.2.1", "[2001:db8::1]:1"]
FOREIGN_HOSTS = ["evil.test", "localhost.evil.test", "127.0.0.1.evil.test:8501", "192.0.2.2", "[", ""]


@pytest.mark.parametrize("path", ["/", "/v1/models/digits", "/monitoring/prometheus/metrics"])
@pytest.mark.parametrize("host", [*LOOPBACK_HOSTS, *OTHER_HOSTS, *FOREIGN_HOSTS])
def test_only_requests_for_allowed_hosts_are_answered(
    running: Running, allowing: Running, path: str, host: str
) -> None:
    for server, names in ((running, LOOPBACK_HOSTS), (allowing, LOOPBACK_HOSTS + OTHER_HOSTS)):
        response = requests.get(server.addresses.rest_url + path, headers={"Host": host}, timeout=60)
        assert (response.status_code != 403) is (host in names)
        if host not in names:
            assert "to allow it, start `digits serve` with --allow-host" in response.json()["error"]


@pytest.mark.parametrize("method", ["OPTIONS", "GET", "POST"])
@pytest.mark.parametrize(
    ("origin", "is_allowed"),
    [
        ("http://localhost:3000", True),
        ("https://127.0.0.1", True),
        ("https://digits.test:8080", True),
        ("http://page.test", False),
        ("null", False),
    ],
)
def test_only_pages_of_allowed_hosts_may_use_the_api(
    allowing: Running, method: str, origin: str, is_allowed: bool
) -> None:
    url = allowing.model_url + (":predict" if method == "POST" else "")
    response = requests.request(method, url, headers={"Origin": origin}, data="{}", timeout=60)
    assert (response.status_code != 403) is is_allowed
    assert response.headers.get("Access-Control-Allow-Origin") == (origin if is_allowed else None)
    assert (CORS.items() <= response.headers.items()) is is_allowed
    if not is_allowed:
        assert f"a page at {origin}; to allow it, start `digits serve` with --allow-host" in response.json()["error"]


def test_the_page_may_call_its_own_server_and_allowed_hosts_only(running: Running, allowing: Running) -> None:
    for server, hosts in (
        (running, ""),
        (allowing, " http://192.0.2.1:* https://192.0.2.1:* http://digits.test:* https://digits.test:*"),
    ):
        policy = requests.get(server.addresses.rest_url, timeout=60).headers["Content-Security-Policy"]
        assert f"; connect-src 'self'{hosts}; " in policy


def test_a_preflight_without_origin_is_refused(running: Running) -> None:
    response = requests.options(f"{running.model_url}:predict", timeout=60)
    assert (response.status_code, response.json()["error"]) == (400, "Origin header is missing in CORS preflight")


@pytest.mark.parametrize(
    ("path", "status", "error"),
    [
        ("/v1/models", 400, "Missing model name in request."),
        ("/v1/models/digits:predict", 400, "Malformed request: GET /v1/models/digits:predict"),
        ("/v1/nonsense", 400, "Malformed request: GET /v1/nonsense"),
        ("/nonsense", 404, "Malformed request: GET /nonsense"),
        ("/v1/models/letters", 404, "Could not find any versions of model letters"),
        ("/v1/models/digits/versions/9", 404, "Could not find version 9 of model digits"),
        ("/v1/models/letters/metadata", 404, "Servable not found for request: Latest(letters)"),
        (f"/v1/models/digits/versions/{2**63}", 400, f"Failed to convert version: {2**63} to numeric."),
        (f"/v1/models/digits/versions/{'9' * 5000}", 400, f"Failed to convert version: {'9' * 5000} to numeric."),
    ],
)
def test_wrong_paths(get: Callable, path: str, status: int, error: str) -> None:
    answer = get(path)
    assert (answer.status_code, answer.json()) == (status, {"error": error})


@pytest.mark.parametrize(
    ("body", "path", "status", "error"),
    [
        ({**PIXELS, "instances": [[[0]]]}, "", 400, "Shape of tensor"),
        ({**PIXELS, "instances": [[["a"]]]}, "", 400, 'JSON Value: "a" Type: String is not of expected type: float'),
        (
            {"signature_name": "nope", "instances": [1]},
            "",
            400,
            'Serving signature name: "nope" not found in signature',
        ),
        ({**PIXELS, "instances": ZEROS}, "/versions/9", 404, "Servable not found for request: Specific(digits, 9)"),
        ({**PIXELS, "inputs": []}, "", 400, "The batch is empty; expected at least one image."),
        ({**PIXELS, "instances": ZEROS * 17}, "", 400, "Task size 17 is larger than maximum input batch size 16"),
        ('{"signature_name": "pixels", "inst', "", 400, "JSON Parse error: unexpected end of data at offset: 34"),
        (b"\xff\xfe\x00", "", 400, "JSON Parse error: "),
        ({**PIXELS, "instances": " " * 2**20}, "", 400, "The body is larger than 1,048,576 bytes"),
    ],
)
def test_bad_requests(post: Callable, body: Any, path: str, status: int, error: str) -> None:
    answer = post(body, f"{path}:predict")
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    assert error in answer.json()["error"]


def test_a_body_of_100_mb_is_refused_however_it_is_sent(post: Callable) -> None:
    megabyte = b"1" * 1_000_000
    declared = post(megabyte * 100)
    chunked = post(megabyte for _ in range(100))
    compressed = post(gzip.compress(megabyte * 100), headers={"Content-Encoding": "gzip"})
    for answer in (declared, chunked, compressed):
        assert answer.status_code == 400
        assert answer.json()["error"].startswith("The body is larger than 1,048,576 bytes")


def test_a_compressed_body_is_read(post: Callable) -> None:
    body = json.dumps({**PIXELS, "instances": ZEROS}).encode()
    for encoding, encoded in (("gzip", gzip.compress(body)), ("deflate", zlib.compress(body)), ("Identity", body)):
        assert post(encoded, headers={"Content-Encoding": encoding}).status_code == 200
    cut = post(gzip.compress(body)[:-20], headers={"Content-Encoding": "gzip"})
    assert cut.json() == {"error": "The body cannot be read: its compressed data is incomplete."}
    answer = post(b"no gzip", headers={"Content-Encoding": "gzip"})
    assert "cannot be read" in answer.json()["error"]


@pytest.mark.parametrize("encoding", ["br", "zstd", "GZIP, br", "compress"])
def test_an_unsupported_encoding_is_refused(post: Callable, encoding: str) -> None:
    answer = post(b"1" * 100_000, headers={"Content-Encoding": encoding})
    expected = f"The Content-Encoding '{encoding.lower()}' is not supported; expected one of identity, gzip, deflate."
    assert (answer.status_code, answer.json()) == (415, {"error": expected})
    assert answer.headers["Accept-Encoding"] == "identity, gzip, deflate"


def test_a_client_that_disconnects_does_no_harm(post: Callable, running: Running) -> None:
    for _ in range(3):
        with socket.create_connection((running.addresses.host, running.addresses.rest_port)) as connection:
            connection.sendall(
                b"POST /v1/models/digits:predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"
            )


def test_a_body_that_does_not_arrive_in_time(run_in_thread: Callable, tmp_path: Path) -> None:
    with (
        run_in_thread(tmp_path, request_timeout_seconds=0.2) as server,
        socket.create_connection((server.addresses.host, server.addresses.rest_port), timeout=60) as connection,
    ):
        connection.sendall(
            b"POST /v1/models/digits:predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"
        )
        answer = connection.recv(4096)
    assert answer.startswith(b"HTTP/1.1 504 ")
    assert b"The body did not arrive within 0.2 s." in answer


@contextmanager
def half_sent(server: Running, headers: str, body: bytes = b"") -> Iterator[socket.socket]:
    """A connection with a request whose body is not complete."""
    with socket.create_connection((server.addresses.host, server.addresses.rest_port), timeout=60) as connection:
        connection.sendall(
            b"POST /v1/models/digits:predict HTTP/1.1\r\nHost: localhost\r\n" + headers.encode() + b"\r\n\r\n"
        )
        connection.sendall(body)
        yield connection


def test_a_full_queue_refuses_a_request_before_its_body_and_says_when_to_retry(
    run_in_thread: Callable, tmp_path: Path
) -> None:
    with (
        run_in_thread(tmp_path, max_concurrency=1, max_queue=-1) as server,
        half_sent(server, "Content-Length: 100") as connection,
    ):
        answer = connection.recv(4096)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nRetry-After: 1\r\n" in answer
    assert b"queue to which this task was submitted is full" in answer


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        # Counts before any of it has arrived, and as it arrives.
        ("Content-Length: 1000000", b""),
        ("Transfer-Encoding: chunked", b"186a0\r\n" + b" " * 100_000 + b"\r\n"),
    ],
)
def test_bodies_in_flight_are_limited(
    run_in_thread: Callable, session: requests.Session, tmp_path: Path, headers: str, body: bytes
) -> None:
    def send(size: int) -> requests.Response:
        return session.post(f"{server.model_url}:predict", data=b" " * size, timeout=60)

    with run_in_thread(tmp_path, max_body_bytes=2**20, max_bytes_in_flight=2**20) as server:
        with half_sent(server, headers, body):
            # It may not have arrived yet.
            refused = next(answer for _ in range(1000) if (answer := send(1_000_000)).status_code != 404)
            assert refused.status_code == 503
            assert "of 1,048,576 bytes, which leaves too few for this one" in refused.json()["error"]
            assert send(1000).status_code == 404
        assert 404 in (send(1_000_000).status_code for _ in range(1000))


@pytest.mark.parametrize(
    ("piece", "found"),
    [(b"[],", "900,002 lists and objects"), (b"{},", "900,002 lists and objects"), (b"0,", "4,500,000 values")],
)
def test_json_that_expands_enormously_is_refused(
    run_in_thread: Callable, session: requests.Session, tmp_path: Path, piece: bytes, found: str, tiny_model: Callable
) -> None:
    (tmp_path / "digits").mkdir()
    tiny_model(tmp_path / "digits", 1)
    body = b'{"instances": [' + piece * (4_500_000 if piece == b"0," else 900_000) + b"0]}"
    with run_in_thread(tmp_path) as server:
        answer = session.post(f"{server.model_url}:predict", data=body, timeout=60)
    assert answer.status_code == 400
    assert found in answer.json()["error"]
    assert "Send fewer images per request, or use gRPC." in answer.json()["error"]


@pytest.mark.parametrize(("signature", "value"), [("pixels", "0"), ("serving_default", '"text"')])
@pytest.mark.parametrize("key", ["instances", "inputs"])
@pytest.mark.parametrize(
    ("depth", "error"),
    [
        (32, "[Ss]hape"),
        (33, "Lists are nested 33 deep; a tensor has at most 32 dimensions."),
        (64, "Lists are nested (63|64) deep; a tensor has at most 32 dimensions."),
        (5000, "JSON Parse error: depth limit exceeded"),
    ],
)
def test_values_nested_too_deep(post: Callable, signature: str, value: str, key: str, depth: int, error: str) -> None:
    answer = post(f'{{"signature_name": "{signature}", "{key}": {"[" * depth + value + "]" * depth}}}')
    assert answer.status_code == 400
    assert re.search(error, answer.json()["error"])


@pytest.mark.parametrize("method", ["classify", "regress"])
def test_classify_and_regress_are_unimplemented(post: Callable, method: str) -> None:
    answer = post({"examples": [{"x": 1}]}, f":{method}")
    assert answer.status_code == 501
    error = f"This development server does not support :{method}; use :predict instead."
    assert answer.json() == {"error": error}


def test_requests_are_counted_under_tf_servings_names(post: Callable, get: Callable) -> None:
    def count(status: str, model: str = "digits") -> float:
        start = f':tensorflow:serving:request_count{{model_name="{model}",status="{status}"}} '
        lines = get("/monitoring/prometheus/metrics").text.splitlines()
        return sum(float(line.removeprefix(start)) for line in lines if line.startswith(start))

    before = count("OK"), count("INVALID_ARGUMENT"), count("NOT_FOUND", "")
    post({**PIXELS, "instances": ZEROS})
    post({**PIXELS, "instances": []})
    post({**PIXELS, "instances": [[[0]]]})
    post({}, "made-up:predict")
    post({**PIXELS, "instances": ZEROS}, "made-up:predict")
    assert (count("OK"), count("INVALID_ARGUMENT"), count("NOT_FOUND", "")) == (
        before[0] + 1,
        before[1] + 2,
        before[2] + 2,
    )


def test_the_page_has_strict_headers(running: Running) -> None:
    response = requests.get(f"{running.addresses.rest_url}/", timeout=60)
    assert response.content == (WEB_DIRECTORY / "index.html").read_bytes()
    assert response.headers["Content-Type"].startswith("text/html")
    assert response.headers["Cache-Control"] == "no-cache"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_scripts_have_the_type_that_browsers_require(running: Running) -> None:
    script = next(WEB_DIRECTORY.glob("*.js")).name
    response = requests.get(f"{running.addresses.rest_url}/{script}", timeout=60)
    assert response.headers["Content-Type"].split("/")[1] == "javascript"


@pytest.mark.parametrize("path", ["/../contract.py", "/%2e%2e/contract.py", "/..%2fcontract.py", "//etc/passwd"])
def test_no_other_file_is_sent(running: Running, path: str) -> None:
    with requests.Session() as session:
        prepared = session.prepare_request(requests.Request("GET", running.addresses.rest_url))
        # Clients usually normalize such paths.
        prepared.url = running.addresses.rest_url + path
        assert session.send(prepared, timeout=60).status_code == 404


def test_only_visible_files_belong_to_the_page(tmp_path: Path) -> None:
    for name in (".secret", "index.html"):
        (tmp_path / name).touch()
    assert set(find_page_files(tmp_path)) == {"/", "/index.html"}
