"""deploy/web/nginx.conf in a real nginx, in front of a stand-in for TF Serving."""

import http.client
import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from serving.server.rest import PAGE_HEADERS, WEB_DIRECTORY

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed; .ci/run installs Debian's nginx-light")


class TfServing(BaseHTTPRequestHandler):
    """Answers with what it was asked."""

    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        content = json.dumps({"asked": f"{self.command} {self.path}", "body": body.decode()}).encode()
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
def port(deploy: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of nginx with a server behind it."""
    behind = ThreadingHTTPServer(("127.0.0.1", 0), TfServing)
    threading.Thread(target=behind.serve_forever, daemon=True).start()
    with nginx(deploy, tmp_path_factory.mktemp("nginx"), behind.server_port) as port:
        yield port
    behind.shutdown()
    behind.server_close()


@contextmanager
def nginx(deploy: Path, directory: Path, backend: int) -> Iterator[int]:
    """Runs nginx; yields its port."""
    port = free_port()
    configuration = directory / "nginx.conf"
    configuration.write_text(_here((deploy / "web" / "nginx.conf").read_text(), directory, port, backend))
    command = [str(NGINX), "-p", str(directory), "-c", str(configuration), "-g", "user root; daemon off;"]
    subprocess.run([*command, "-t"], check=True, capture_output=True)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        _wait_until_open(process, port)
        yield port
    finally:
        process.terminate()
        process.communicate(timeout=10)


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


def _wait_until_open(process: "subprocess.Popen[str]", port: int) -> None:
    while process.poll() is None:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
    assert process.stderr
    pytest.fail(process.stderr.read())


def ask(port: int, method: str, path: str, headers: dict[str, str] | None = None, body: str | None = None) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
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


def test_metrics(port: int) -> None:
    path = "/monitoring/prometheus/metrics"
    assert json.loads(ask(port, "GET", path)[1])["asked"] == f"GET {path}"
    assert ask(port, "GET", "/monitoring/else")[0].status == 404


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
