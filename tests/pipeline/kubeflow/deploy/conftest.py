"""A server with the part of KFP's REST API that `digits deploy` uses. It asserts what the real one requires.

Sources, of KFP 2.17: the SDK's models; pipeline_upload_server.go, api_converter.go, error.go, v2_template.go.
"""

import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from uuid import uuid4

import kfp_server_api
import pytest
import yaml
from click.testing import CliRunner, Result
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from pipeline.cli.main import main

Json = dict[str, Any]
Query = Mapping[str, str]
Deploy = Callable[..., Result]

_GRPC_CODES = {401: 16, 403: 7, 404: 5}
_KINDS = {"NUMBER_INTEGER": int | float, "NUMBER_DOUBLE": int | float, "STRING": str}


class ApiError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"code": _GRPC_CODES[status], "message": message, "details": []}


@dataclass
class Kubeflow:
    """The state of the server, its behavior, and the requests that it received."""

    url: str = ""
    tag_name: str = "2.17.0"
    user_namespace: str | None = None
    secret: tuple[str, str] | None = None
    """A header that each request needs, and its value."""
    page_size: int = 20
    run_states: list[Json] = field(default_factory=list)
    """Fields of the run for each time it is read; the last ones stay."""
    instead: dict[str, list[tuple[int, bytes, dict[str, str]]]] = field(default_factory=dict)
    """Responses by path, each sent once before the usual ones: status, body, headers."""
    requests: list[tuple[str, str, Json]] = field(default_factory=list)
    """Method, path, and query or body."""
    pipelines: list[Json] = field(default_factory=list)
    versions: list[Json] = field(default_factory=list)
    experiments: list[Json] = field(default_factory=list)
    runs: list[Json] = field(default_factory=list)
    recurring_runs: list[Json] = field(default_factory=list)

    @property
    def writes(self) -> list[str]:
        return [f"{method} {path}" for method, path, _ in self.requests if method != "GET"]

    def answer(self, method: str, path: str, query: Query, headers: Mapping[str, str], body: bytes) -> Json:
        if self.secret is not None and headers.get(self.secret[0]) != self.secret[1]:
            raise ApiError(401, "Unauthenticated: there is no user identity header")
        is_upload = path == "/pipelines/upload_version"
        values = {} if is_upload or not body else json.loads(body)
        self.requests.append((method, path, values or dict(query)))
        if is_upload:
            return self._upload_version(query, headers["content-type"], body)
        for pattern, handle in self._routes.items():
            if match := re.fullmatch(pattern, f"{method} {path}"):
                return handle(query, values, *match.groups())
        raise ApiError(404, "Not Found")

    @property
    def _routes(self) -> dict[str, Callable[..., Json]]:
        return {
            "GET /healthz": lambda *_: {"tag_name": self.tag_name, "multi_user": self.user_namespace is not None},
            "GET /pipelines": lambda query, body: self._list("pipelines", query, namespaced=True),
            "POST /pipelines": self._create_pipeline,
            "DELETE /pipelines/([^/]+)": lambda query, body, key: self._delete("pipeline", key),
            "GET /pipelines/([^/]+)/versions": self._list_versions,
            "GET /experiments": lambda query, body: self._list("experiments", query, namespaced=True),
            "POST /experiments": lambda query, body: self._create("experiment", body, namespaced=True),
            "POST /runs": lambda query, body: self._create("run", self._checked_run(body), state="PENDING"),
            "GET /runs/([^/]+)": self._get_run,
            "GET /recurringruns": self._list_recurring_runs,
            "POST /recurringruns": self._create_recurring_run,
            "DELETE /recurringruns/([^/]+)": lambda query, body, key: self._delete("recurring_run", key),
        }

    def _authorize(self, namespace: str | None) -> None:
        if self.user_namespace is not None and namespace != self.user_namespace:
            raise ApiError(403, f"PermissionDenied: user is not authorized in namespace {namespace!r}")

    def _list(self, kind: str, query: Query, items: list[Json] | None = None, *, namespaced: bool = False) -> Json:
        if namespaced:
            self._authorize(query.get("namespace"))
        found: list[Json] = getattr(self, kind) if items is None else items
        for predicate in json.loads(query.get("filter", "{}")).get("predicates", []):
            assert (predicate["operation"], predicate["key"]) == (1, "display_name")
            found = _with(found, display_name=predicate["stringValue"])
        assert query.get("sort_by", "") in ("", "created_at desc")
        found = found[::-1] if query.get("sort_by") else found
        first, size = int(query.get("page_token") or 0), int(query.get("page_size", self.page_size))
        rest = {"next_page_token": str(first + size)} if len(found) > first + size else {}
        # protojson leaves out what is empty.
        return {**({kind: found[first : first + size]} if found else {}), "total_size": len(found), **rest}

    def _list_versions(self, query: Query, body: Json, key: str) -> Json:
        return self._list("pipeline_versions", query, _with(self.versions, pipeline_id=key))

    def _list_recurring_runs(self, query: Query, body: Json) -> Json:
        return self._list("recurringRuns", query, _with(self.recurring_runs, experiment_id=query["experiment_id"]))

    def _create(self, kind: str, body: Json, *, namespaced: bool = False, **fields: Any) -> Json:
        model = {"pipeline_version": "PipelineVersion", "recurring_run": "RecurringRun"}.get(kind, kind.title())
        _check_fields(body, f"V2beta1{model}")
        if namespaced:
            self._authorize(body.get("namespace"))
        now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        created = {**body, **fields, f"{kind}_id": str(uuid4()), "created_at": now}
        _check_fields(created, f"V2beta1{model}")
        {"pipeline_version": self.versions}.get(kind, getattr(self, f"{kind}s", [])).append(created)
        return created

    def _delete(self, kind: str, key: str) -> Json:
        items: list[Json] = getattr(self, f"{kind}s")
        items[:] = [each for each in items if each[f"{kind}_id"] != key]
        return {}

    def _create_pipeline(self, query: Query, body: Json) -> Json:
        assert not _with(self.pipelines, display_name=body["display_name"])
        return self._create("pipeline", body, namespaced=True)

    def _upload_version(self, query: Query, content_type: str, body: bytes) -> Json:
        message = BytesParser(policy=HTTP).parsebytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body)
        (part,) = message.iter_parts()
        assert part.get_param("name", header="content-disposition") == "uploadfile"
        assert part.get_filename() == "pipeline.yaml"
        spec, *platform = yaml.safe_load_all(part.get_content())
        json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
        assert not _with(self.versions, pipeline_id=query["pipelineid"], display_name=query["name"])
        values = {"pipeline_spec": spec, "platform_spec": platform[0]} if platform else spec
        fields = {"pipeline_id": query["pipelineid"], "display_name": query["name"], "pipeline_spec": values}
        return self._create("pipeline_version", fields)

    def _checked_run(self, body: Json) -> Json:
        (version,) = _with(self.versions, **body["pipeline_version_reference"])
        assert _with(self.experiments, experiment_id=body["experiment_id"])
        spec = version["pipeline_spec"].get("pipeline_spec", version["pipeline_spec"])
        known = spec["root"]["inputDefinitions"]["parameters"]
        for name, value in body["runtime_config"].get("parameters", {}).items():
            assert isinstance(value, _KINDS[known[name]["parameterType"]])
        return body

    def _get_run(self, query: Query, body: Json, key: str) -> Json:
        (run,) = _with(self.runs, run_id=key)
        if self.run_states:
            run |= self.run_states.pop(0) if len(self.run_states) > 1 else self.run_states[0]
        _check_fields(run, "V2beta1Run")
        return run

    def _create_recurring_run(self, query: Query, body: Json) -> Json:
        assert len(body["trigger"]["cron_schedule"]["cron"].split()) == 6
        assert 1 <= body["max_concurrency"] <= 10
        return self._create("recurring_run", self._checked_run(body), status="ENABLED")


def _with(items: list[Json], **fields: Any) -> list[Json]:
    return [each for each in items if all(each[key] == value for key, value in fields.items())]


def _check_fields(values: Json, model: str) -> None:
    """Accepts no unknown fields, like protojson without DiscardUnknown."""
    types = getattr(kfp_server_api, model).openapi_types
    names = {name: types[attribute] for attribute, name in getattr(kfp_server_api, model).attribute_map.items()}
    for key, value in values.items():
        assert key in names, f"proto: unknown field {key}"
        for item in value if isinstance(value, list) else [value]:
            kind = re.sub(r"list\[(.*)\]", r"\1", names[key])
            if isinstance(item, dict) and kind.startswith("V2beta1"):
                _check_fields(item, kind)


@pytest.fixture
def compiled_file(tmp_path: Path) -> Path:
    """A compiled pipeline of three steps; the first is a gate."""
    return Path(shutil.copy(Path(__file__).with_name("compiled.yaml"), tmp_path))


class Handler(BaseHTTPRequestHandler):
    kubeflow: Kubeflow

    def answer(self) -> None:
        address = urlsplit(self.path)
        path = re.sub(r"^(/pipeline)?/apis/v2beta1/", "/", address.path) if "/apis/v2beta1/" in address.path else ""
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {key.lower(): value for key, value in self.headers.items()}
        sent = {"content-type": "application/json"}
        try:
            if self.kubeflow.instead.get(path):
                status, content, sent = self.kubeflow.instead[path].pop(0)
            else:
                answer = self.kubeflow.answer(self.command, path, dict(parse_qsl(address.query)), headers, body)
                status, content = 200, json.dumps(answer).encode()
        except ApiError as error:
            status, content = error.status, json.dumps(error.body).encode()
        self.send_response(status)
        for name, value in {**sent, "content-length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: Any) -> None: ...


@pytest.fixture
def kubeflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kubeflow]:
    """A server that needs no token unless a test sets one."""
    for name in ("KFP_TOKEN", "KFP_COOKIE", "SSL_CERT_FILE", "KF_PIPELINES_ENDPOINT", "KF_PIPELINES_SA_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    state = Kubeflow()
    methods = {f"do_{method}": Handler.answer for method in ("GET", "POST", "DELETE")}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OfOneTest", (Handler,), {"kubeflow": state, **methods}))
    state.url = f"http://127.0.0.1:{server.server_port}"
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        server.shutdown()
        thread.join()


@pytest.fixture
def deploy(kubeflow: Kubeflow, compiled_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Deploy:
    """Runs the command with the compiled file in an empty folder, without pauses when it follows a run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr("pipeline.kubeflow.deploy.follower._POLL_SECONDS", 0)

    def run(*arguments: str) -> Result:
        command = ["deploy", "--host", kubeflow.url, "--file", str(compiled_file), *arguments]
        return CliRunner().invoke(main, command)

    return run
