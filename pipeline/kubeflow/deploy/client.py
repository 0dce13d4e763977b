"""Calls the REST API of Kubeflow Pipelines, and explains its errors.

It does not use `kfp.Client`, which reads and writes `~/.config/kfp/context.json`, prints to standard output, and
retries for 25 seconds when the server does not respond.
"""

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import MaxRetryError

from pipeline.kubeflow.compile.parameters import WrongDeploymentError
from registry.errors import ExpectedError

Json = dict[str, Any]

_API = "/apis/v2beta1"
_TIMEOUT = (10, 60)
"""Seconds to connect and to wait for a response: the server compiles an upload before it responds."""
# The changes: https://github.com/kubeflow/pipelines/pull/11404, /11770 and /11673.
_OLDEST_VERSION = (2, 5)
_EQUALS = 1
"""Filter.Operation of backend/api/v2beta1/filter.proto; the SDK sends the number too."""
_FORWARD = "kubectl port-forward --namespace kubeflow service/ml-pipeline-ui 8080:80"


class KubeflowError(ExpectedError):
    """Kubeflow Pipelines rejected a request or failed; the message says what to do."""


class KubeflowUnreachableError(KubeflowError):
    """Kubeflow Pipelines is not responding."""


class KubeflowClient:
    """A Kubeflow Pipelines server, and the namespace to work in.

    Methods return the JSON objects of the REST API, such as a `v2beta1Run`.
    https://www.kubeflow.org/docs/components/pipelines/reference/api/kubeflow-pipeline-api-spec/
    """

    def __init__(self, host: str, read_token: Callable[[], str | None], namespace: str | None) -> None:
        """Creates a client without connecting.

        `SSL_CERT_FILE` is the certificate of a private authority, `KFP_COOKIE` the cookie of a browser session.

        Args:
            host: Address as `clean_host` returns it.
            read_token: Returns the bearer token, or None if there is none; called for each request.
            namespace: Namespace of the user; None on a server with a single user.

        Raises:
            WrongDeploymentError: `KFP_COOKIE` is not a valid header value.
        """
        self.host = host
        self.namespace = namespace
        self._scope = {} if namespace is None else {"namespace": namespace}
        self._read_token = read_token
        self._session = requests.Session()
        # Ignores proxies from the environment: most addresses are forwarded ports or inside the cluster.
        self._session.trust_env = False
        self._session.verify = os.environ.get("SSL_CERT_FILE") or True
        if cookie := _header_value("KFP_COOKIE", os.environ.get("KFP_COOKIE", "").strip()):
            self._session.headers["Cookie"] = cookie

    def connect(self) -> None:
        """Checks that the host is a supported Kubeflow Pipelines server and that the namespace fits.

        Raises:
            KubeflowError: The host does not respond, is not Kubeflow Pipelines, or is too old.
            WrongDeploymentError: A namespace is missing, or set for a server with a single user.
        """
        health = self._call("GET", "/healthz")
        if health.get("apiServerReady") is False:
            raise KubeflowError(f"{self.host}: the UI responds, but its API server (ml-pipeline) does not; try again.")
        # The API server returns tag_name, the UI in front of it apiServerTagName.
        version = health.get("apiServerTagName", health.get("tag_name"))
        if version is None:
            raise KubeflowError(_not_kubeflow(self.host))
        # Custom builds can have any name.
        number = re.match(r"v?(\d+)\.(\d+)\.\d+", str(version))
        if number and (int(number[1]), int(number[2])) < _OLDEST_VERSION:
            raise KubeflowError(
                f"{self.host}: Kubeflow Pipelines {version} is too old: 2.5 is the first version that accepts images, "
                "claims and secrets as parameters, and that retries failed steps."
            )
        is_multi_user = health.get("multi_user", health.get("apiServerMultiUser"))
        if is_multi_user and self.namespace is None:
            raise WrongDeploymentError(f"{self.host} has one namespace per user: set yours with --namespace.")
        if not is_multi_user and self.namespace is not None:
            raise WrongDeploymentError(
                f"namespace {self.namespace}: {self.host} has a single user and runs everything in its own namespace; "
                "omit --namespace."
            )

    def find(self, kind: Literal["pipelines", "experiments"], name: str) -> Json | None:
        """Returns the pipeline or experiment of this name, or None."""
        found = self._list(kind, name, **self._scope)
        return found[0] if found else None

    def create(self, kind: Literal["pipelines", "experiments"], name: str) -> Json:
        """Creates a pipeline without versions, or an experiment."""
        return self._call("POST", f"/{kind}", json={"display_name": name, **self._scope})

    def delete_pipeline(self, pipeline_id: str) -> None:
        """Deletes a pipeline without versions."""
        self._call("DELETE", f"/pipelines/{pipeline_id}")

    def find_version(self, pipeline_id: str, name: str | None = None) -> Json | None:
        """Returns the version of this name, or the newest version if `name` is None; None if there is none."""
        query = {"page_size": "1", "sort_by": "created_at desc"} | ({} if name is None else _named(name))
        found = self._call("GET", f"/pipelines/{pipeline_id}/versions", params=query).get("pipeline_versions")
        return found[0] if found else None

    def upload_version(self, pipeline_id: str, name: str, content: bytes) -> Json:
        """Uploads a compiled pipeline as a new version."""
        files = {"uploadfile": ("pipeline.yaml", content)}
        query = {"name": name, "pipelineid": pipeline_id}
        return self._call("POST", "/pipelines/upload_version", params=query, files=files)

    def create_run(self, values: Json) -> Json:
        """Starts a run with the fields `values`."""
        return self._call("POST", "/runs", json=values)

    def get_run(self, run_id: str) -> Json:
        """Returns the current state of a run."""
        return self._call("GET", f"/runs/{run_id}")

    def find_recurring_runs(self, experiment_id: str, name: str) -> list[Json]:
        """Returns all recurring runs of this name: names are not unique."""
        return self._list("recurringRuns", name, experiment_id=experiment_id)

    def create_recurring_run(self, values: Json) -> Json:
        """Creates a recurring run with the fields `values`."""
        return self._call("POST", "/recurringruns", json=values)

    def delete_recurring_run(self, recurring_run_id: str) -> None:
        """Deletes a recurring run; a run that it has started continues."""
        self._call("DELETE", f"/recurringruns/{recurring_run_id}", params={"propagation_policy": "ORPHAN"})

    def _list(self, kind: str, name: str, **query: str) -> list[Json]:
        found: list[Json] = []
        page: str | None = ""
        while page is not None:
            response = self._call("GET", f"/{kind.lower()}", params=query | _named(name) | {"page_token": page})
            found += response.get(kind, [])
            page = response.get("next_page_token") or None
        return found

    def _call(self, method: str, path: str, **options: Any) -> Json:
        """Calls the API and returns the JSON object of its response.

        Raises:
            KubeflowError: There is no response, or an error.
        """
        url = f"{self.host}{_API}{path}"
        try:
            response = self._session.request(
                method, url, auth=self._authorize, timeout=_TIMEOUT, allow_redirects=False, **options
            )
        except requests.exceptions.SSLError as error:
            raise KubeflowError(
                f"{self.host}: TLS fails: {_reason(error)}. Set SSL_CERT_FILE to the certificate of your authority."
            ) from error
        except requests.RequestException as error:
            raise KubeflowUnreachableError(
                f"{self.host}: cannot be reached: {_reason(error)}. Check the address; if Kubeflow Pipelines runs in a "
                f"cluster, run `{_FORWARD}` and use http://localhost:8080."
            ) from error
        values = _json_object(response)
        if response.status_code >= 300:
            raise self._error(response, values or {})
        if values is None:
            raise KubeflowError(_not_kubeflow(self.host))
        return values

    def _authorize(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if token := self._read_token():
            request.headers["Authorization"] = f"Bearer {token}"
        return request

    def _error(self, response: requests.Response, values: Mapping[str, Any]) -> KubeflowError:
        # The gateway returns `message`, an upload `error_message`; a proxy may return any text or HTML.
        text = values.get("message") or values.get("error_message") or values.get("error")
        if text is None:
            text = "" if "<" in response.text else response.text
        message, status = " ".join(str(text).split()), response.status_code
        if status in (502, 503, 504):
            return KubeflowUnreachableError(
                f"{self.host}: Kubeflow Pipelines rejected the request ({status}): {message}"
            )
        if status == 401:
            explained = f"the token is missing or not accepted (401); set KFP_TOKEN or use --token-file. {message}"
        elif status == 403:
            explained = f"not allowed (403); check --namespace and the rights of the token. {message}"
        elif 300 <= status < 400:
            explained = f"redirects to a login in a browser ({status}); set KFP_TOKEN or KFP_COOKIE."
        elif status == 404 and not values:
            return KubeflowError(_not_kubeflow(self.host))
        else:
            explained = f"Kubeflow Pipelines rejected the request ({status}): {message or response.reason}"
        return KubeflowError(f"{self.host}: {explained}".strip())


def clean_host(text: str) -> str:
    """Returns the address of Kubeflow Pipelines without the fragment that a browser adds.

    Raises:
        WrongDeploymentError: The text is not an http or https address.
    """
    host = text.strip().partition("#")[0].rstrip("/")
    expected = "expected the address of Kubeflow Pipelines, such as http://localhost:8080"
    if "@" in host:
        raise WrongDeploymentError(f"host: {expected}, without user and password; set KFP_TOKEN or use --token-file.")
    try:
        address = urlsplit(host)
        is_valid = bool(address.scheme in ("http", "https") and address.hostname and address.port != 0)
    except ValueError:
        is_valid = False  # A wrong port, or a wrong address in brackets.
    if is_valid and not re.search(r"[\s?]", host):
        return host
    hint = f" Did you mean http://{host}?" if re.fullmatch(r"[\w.-]+(:\d{1,5})?(/[^\s?]*)?", host) else ""
    raise WrongDeploymentError(f"host {text!r}: {expected} or https://kubeflow.example.com/pipeline.{hint}")


def token_reader(file: Path | None) -> Callable[[], str | None]:
    """Returns a function that reads the token from a file, which a cluster may renew, or else from `KFP_TOKEN`.

    Raises:
        WrongDeploymentError: The file cannot be read or is empty, or the token is not a valid header value.
    """
    if file is None:
        from_environment = _header_value("KFP_TOKEN", os.environ.get("KFP_TOKEN", "").strip()) or None
        return lambda: from_environment

    def read() -> str:
        try:
            token = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise WrongDeploymentError(f"token file {file}: cannot be read: {error}.") from error
        if not token:
            raise WrongDeploymentError(f"token file {file}: is empty.")
        return _header_value(f"token file {file}", token)

    read()
    return read


def _header_value(source: str, text: str) -> str:
    # The message must not contain the value, as that of http.client would.
    if not (text.isascii() and text.isprintable()):
        raise WrongDeploymentError(f"{source}: expected one line of ASCII characters, as HTTP headers require.")
    return text


def _named(name: str) -> dict[str, str]:
    predicate = {"operation": _EQUALS, "key": "display_name", "stringValue": name}
    return {"filter": json.dumps({"predicates": [predicate]})}


def _reason(error: requests.RequestException) -> str:
    cause: Any = error
    # requests and urllib3 wrap the error of the connection, each with a prefix.
    while isinstance(cause, Exception) and cause.args:
        cause = cause.reason if isinstance(cause, MaxRetryError) else cause.args[-1]
    return " ".join(str(cause).rpartition(": ")[2].split())


def _json_object(response: requests.Response) -> Json | None:
    try:
        values = response.json()
    except ValueError:
        return None
    return values if isinstance(values, dict) else None


def _not_kubeflow(host: str) -> str:
    return (
        f"{host}: the server is not Kubeflow Pipelines 2: it has no {_API}/healthz. Use the address of the UI or of "
        "the API server; in the Kubeflow platform, it ends in /pipeline."
    )
