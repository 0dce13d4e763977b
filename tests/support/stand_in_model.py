"""A server of the page and of a model that gives the same answer to every image."""

import functools
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "serving" / "web"


@dataclass(frozen=True)
class StandIn:
    """A model.

    Attributes:
        answer: Its answer to every image.
        pixels: The image that it claims to see: rows of gray values, or of [red, green, blue].
    """

    answer: Mapping[str, Any]
    pixels: Sequence[Sequence[Any]]

    def response(self, path: str, body: bytes) -> Any:
        """Returns the JSON for a request to `/v1/`."""
        if body:
            is_answer = json.loads(body)["signature_name"] == "serving_default"
            return {"predictions": [self.answer if is_answer else self.pixels]}
        if path.endswith("/metadata"):
            is_color = isinstance(self.pixels[0][0], list)
            sizes = [-1, len(self.pixels), len(self.pixels[0]), *([3] if is_color else [])]
            image = {"tensor_shape": {"dim": [{"size": str(size)} for size in sizes]}}
            return {"metadata": {"signature_def": {"signature_def": {"pixels": {"inputs": {"image": image}}}}}}
        return {"model_version_status": [{"version": "1", "state": "AVAILABLE"}]}


@contextmanager
def serve_page(model: StandIn | None = None) -> Iterator[str]:
    """Serves the page, alone or with a model; yields its URL."""

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if model is None or not self.path.startswith("/v1/"):
                super().do_GET()
            else:
                self._send(model.response(self.path, b""))

        def do_POST(self) -> None:
            assert model is not None
            self._send(model.response(self.path, self.rfile.read(int(self.headers["Content-Length"]))))

        def _send(self, content: Any) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=PAGE)) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
