"""deploy/web/nginx.conf in a real nginx, in front of a stand-in for TF Serving."""

import http.client
import json
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from serving.server.rest import PAGE_HEADERS, WEB_DIRECTORY

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
MEBIBYTE = 2**20
pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed; .ci/run installs Debian's nginx-light")


class TfServing(BaseHTTPRequestHandler):
    """Echoes requests, answers bodies of megabytes with their size, and waits on some paths until it is released."""

    protocol_version = "HTTP/1.1"
    arrivals = threading.Semaphore(0)
    released = threading.Event()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "slow" in self.path:
            self.arrivals.release()
            assert self.released.wait(60)
        text = body.decode() if len(body) < MEBIBYTE else len(body)
        content = json.dumps({"asked": f"{self.command} {self.path}", "body": text}).encode()
        self.send_response(404 if "missing" in self.path else 200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, *arguments: Any) -> None: ...


@pytest.fixture(scope="module")
def backend() -> Iterator[int]:
    """The port of a server behind nginx."""
    behind = ThreadingHTTPServer(("127.0.0.1", 0), TfServing)
    threading.Thread(target=behind.serve_forever, daemon=True).start()
    yield behind.server_port
    behind.shutdown()
    behind.server_close()


@pytest.fixture(scope="module")
def port(deploy: Path, tmp_path_factory: pytest.TempPathFactory, backend: int) -> Iterator[int]:
    """The port of nginx with a server behind it."""
    with nginx(deploy, tmp_path_factory.mktemp("nginx"), backend) as port:
        yield port


@contextmanager
def nginx(deploy: Path, directory: Path, backend: int, **replacements: str) -> Iterator[int]:
    """Runs nginx, whose log is `error.log` in the directory; yields its port."""
    port = free_port()
    configuration = directory / "nginx.conf"
    text = _here((deploy / "web" / "nginx.conf").read_text(), directory, port, backend)
    for setting, value in replacements.items():
        text, count = re.subn(rf"\b{setting}=\S+?(?=[ ;])", f"{setting}={value}", text)
        assert count == 1
    configuration.write_text(text)
    command = [str(NGINX), "-p", str(directory), "-c", str(configuration), "-g", "user root; daemon off;"]
    subprocess.run([*command, "-t"], check=True, capture_output=True)
    with (directory / "error.log").open("w") as log:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)
    try:
        while process.poll() is None and not _is_open(port):
            pass
        assert process.poll() is None, (directory / "error.log").read_text()
        yield port
    finally:
        process.terminate()
        process.wait(timeout=10)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def _here(text: str, directory: Path, port: int, backend: int) -> str:
    replacements = {
        # First: the paths that follow may be below it.
        "/tmp/": f"{directory}/",
        "listen 8080": f"listen 127.0.0.1:{port}",
        "server tf-serving:8501": f"server 127.0.0.1:{backend}",
        "/usr/share/nginx/html": str(WEB_DIRECTORY),
        "/dev/stdout": str(directory / "access.log"),
    }
    for old, new in replacements.items():
        assert old in text
        text = text.replace(old, new)
    return text


def _is_open(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def ask(
    port: int,
    method: str,
    path: str,
    headers: dict[str, str] | None = None,
    body: str | bytes | None = None,
    client: str = "127.0.0.1",
) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60, source_address=(client, 0))
    connection.request(method, path, body, headers or {})
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response, content


def test_the_page_has_the_headers_that_digits_serve_gives_it(port: int) -> None:
    response, content = ask(port, "GET", "/")
    assert (response.status, content) == (200, (WEB_DIRECTORY / "index.html").read_bytes())
    assert {name: response.headers[name] for name in PAGE_HEADERS} == PAGE_HEADERS
    response, _ = ask(port, "GET", "/main.js")
    assert (response.status, response.headers["Content-Type"]) == (200, "application/javascript")
    assert ask(port, "GET", "/nothing.js")[0].status == 404
    assert ask(port, "POST", "/index.html")[0].status == 403


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/digits:predict",
        "/v1/models/digits/versions/17:predict",
        "/v1/models/digits/labels/stable:predict",
        "/v1/models/missing:predict",
    ],
)
def test_requests_and_answers_pass_unchanged(port: int, path: str) -> None:
    response, content = ask(port, "POST", path, body='{"instances": [{"b64": "iVBORw0KGgo="}]}')
    assert response.status == (404 if "missing" in path else 200)
    assert json.loads(content) == {"asked": f"POST {path}", "body": '{"instances": [{"b64": "iVBORw0KGgo="}]}'}


def test_metrics_are_not_public(port: int) -> None:
    assert ask(port, "GET", "/monitoring/prometheus/metrics")[0].status == 404
    assert ask(port, "GET", "/v1/../monitoring/prometheus/metrics")[0].status == 404


def test_four_concurrent_uploads_of_60_mb_take_no_memory(deploy: Path, tmp_path: Path, backend: int) -> None:
    body = b"x" * (60 * MEBIBYTE)
    with nginx(deploy, tmp_path, backend) as port, ThreadPoolExecutor(4) as clients:
        answers = list(clients.map(lambda _: ask(port, "POST", "/v1/models/digits:predict", body=body), range(4)))
    assert [(response.status, json.loads(content)["body"]) for response, content in answers] == [(200, len(body))] * 4
    # The files would be in the memory of the container.
    assert "buffered to a temporary file" not in (tmp_path / "error.log").read_text()


def test_concurrent_requests_are_limited_per_client_and_in_total(port: int) -> None:
    with ThreadPoolExecutor(32) as clients:

        def start(client: str) -> list[Future]:
            asked = [
                clients.submit(ask, port, "POST", "/v1/models/slow:predict", body="{}", client=client)
                for _ in range(16)
            ]
            for _ in asked:
                assert TfServing.arrivals.acquire(timeout=60)
            return asked

        answers = start("127.0.0.1")
        refused = [ask(port, "POST", "/v1/models/digits:predict", body="{}")]
        assert ask(port, "POST", "/v1/models/digits:predict", body="{}", client="127.0.0.2")[0].status == 200
        answers += start("127.0.0.2")
        refused.append(ask(port, "POST", "/v1/models/digits:predict", body="{}", client="127.0.0.3"))
        # The page is still served.
        assert ask(port, "GET", "/")[0].status == 200
        TfServing.released.set()
    for response, content in refused:
        assert response.status == 503
        assert json.loads(content)["error"].startswith("More than 16 concurrent requests of this client or 32 of all")
    assert {answer.result()[0].status for answer in answers} == {200}


def test_the_rate_of_requests_is_limited(deploy: Path, tmp_path: Path, backend: int) -> None:
    with ThreadPoolExecutor(3) as clients, nginx(deploy, tmp_path, backend, rate="1r/m", burst="1") as port:
        first = clients.submit(ask, port, "GET", "/v1/models/digits").result()
        # nginx delays one of them by a minute; it ends with nginx.
        later = [clients.submit(ask, port, "GET", "/v1/models/digits") for _ in range(2)]
        response, content = next(as_completed(later)).result()
        assert first[0].status == 200
    assert response.status == 429
    assert json.loads(content) == {"error": "More than 200 requests per second; try again more slowly."}


def test_the_requests_of_a_bulk_prediction_are_not_limited(port: int) -> None:
    with ThreadPoolExecutor(8) as clients:
        answers = clients.map(lambda _: ask(port, "POST", "/v1/models/digits:predict", body="{}"), range(400))
        assert {response.status for response, _ in answers} == {200}


def test_a_body_that_is_too_large_is_refused_before_it_is_read(port: int) -> None:
    length = {"Content-Length": str(64 * 1024 * 1024 + 1)}
    response, content = ask(port, "POST", "/v1/models/digits:predict", headers=length)
    assert response.status == 413
    assert json.loads(content) == {"error": "The request is larger than 64 MiB."}


def test_without_tf_serving(deploy: Path, tmp_path: Path) -> None:
    with nginx(deploy, tmp_path, free_port()) as port:
        response, content = ask(port, "POST", "/v1/models/digits:predict", body="{}")
        assert response.status == 503
        assert json.loads(content) == {"error": "TF Serving does not answer."}
        assert ask(port, "GET", "/")[0].status == 200
