"""How `digits deploy` reaches Kubeflow Pipelines: address, token, and what an error of the connection means."""

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pipeline.kubeflow.deploy.errors import KubeflowError, KubeflowUnreachableError, WrongDeploymentError

if TYPE_CHECKING:
    from kfp_server_api import ApiClient

TIMEOUT = (10, 60)
"""Seconds to connect, and until an answer: the server compiles what is uploaded before it answers."""
HEALTH_CHECK = "/apis/v2beta1/healthz"
_FORWARD = "kubectl port-forward --namespace kubeflow service/ml-pipeline-ui 8080:80"
_UNAVAILABLE = (502, 503, 504)


def clean_host(text: str) -> str:
    """Returns the address of Kubeflow Pipelines without what a browser adds to it.

    Raises:
        WrongDeploymentError: It is no http or https address.
    """
    host = text.strip().partition("#")[0].rstrip("/")
    expected = "expected the address of Kubeflow Pipelines, such as http://localhost:8080"
    if "@" in host:
        raise WrongDeploymentError(
            f"host: {expected}, without a user and a password; set KFP_TOKEN, or give --token-file."
        )
    if re.fullmatch(r"https?://[^\s/?]+(/[^\s?]*)?", host) and _has_valid_port(host):
        return host
    hint = f" Did you mean http://{host}?" if re.fullmatch(r"[\w.-]+(:\d{1,5})?(/[^\s?]*)?", host) else ""
    raise WrongDeploymentError(f"host {text!r}: {expected} or https://kubeflow.example.com/pipeline.{hint}")


def _has_valid_port(host: str) -> bool:
    try:
        address = urlsplit(host)
        return bool(address.hostname) and address.port != 0
    except ValueError:
        # Of the port, or of an address in brackets.
        return False


def is_in_clear(host: str) -> bool:
    """Says whether others on the way can read what is sent to an address."""
    address = urlsplit(host)
    name = address.hostname or ""
    try:
        is_here = ip_address(name).is_loopback
    except ValueError:
        is_here = name == "localhost"
    return address.scheme == "http" and not is_here


def token_reader(file: Path | None) -> Callable[[], str | None]:
    """Returns what reads the token: from the file, which a cluster may renew, or else from `KFP_TOKEN`.

    Raises:
        WrongDeploymentError: The file cannot be read, is empty, or what it or the variable holds is no token.
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
    # Nobody is to read it in a message; what http.client says of a wrong one has it.
    if not (text.isascii() and text.isprintable()):
        raise WrongDeploymentError(
            f"{source}: expected one line of ASCII characters, as a header of HTTP can hold; its value has others."
        )
    return text


def make_api_client(host: str, read_token: Callable[[], str | None]) -> "ApiClient":
    """Returns the generated client of the SDK.

    `SSL_CERT_FILE` names the certificate of a private authority, `KFP_COOKIE` a session of a login in a browser.

    Args:
        host: What `clean_host` returned.
        read_token: Asked before each request for the bearer token; None where there is none.

    Raises:
        WrongDeploymentError: `KFP_COOKIE` is nothing that can be sent.
    """
    import kfp_server_api

    configuration = kfp_server_api.Configuration(host=host)
    # Otherwise urllib3 asks three times more, and follows a redirect to a login page, which is no answer.
    configuration.retries = False
    configuration.ssl_ca_cert = os.environ.get("SSL_CERT_FILE")
    token = read_token()
    if token is not None:
        configuration.api_key["authorization"] = token
        configuration.api_key_prefix["authorization"] = "Bearer"
        configuration.refresh_api_key_hook = lambda each: each.api_key.update(authorization=read_token())
    cookie = _header_value("KFP_COOKIE", os.environ.get("KFP_COOKIE", "").strip()) or None
    return kfp_server_api.ApiClient(configuration, cookie=cookie)


def check_health(client: "ApiClient") -> dict[str, Any]:
    """Returns what the health check says: `tag_name` and `multi_user` of the API server.

    Raises:
        KubeflowError: Nobody answers, or what answers is not Kubeflow Pipelines.
    """
    host = client.configuration.host
    headers = dict(client.default_headers)
    if client.cookie:
        headers["Cookie"] = client.cookie
    client.update_params_for_auth(headers, [], ["Bearer"])
    with errors_explained(host):
        # HealthzServiceApi would fail by itself on an answer that is no JSON, and on a certificate.
        answer = client.rest_client.GET(f"{host}{HEALTH_CHECK}", headers, _request_timeout=TIMEOUT)
    health = _json_object(answer.data)
    if health.get("apiServerReady") is False:
        raise KubeflowError(f"{host}: the UI answers, but not its API server (ml-pipeline); try again later.")
    # The API server says tag_name; the UI in front of it apiServerTagName.
    version = health.get("apiServerTagName", health.get("tag_name"))
    if version is None:
        raise KubeflowError(_not_kubeflow(host))
    is_multi_user = health.get("multi_user", health.get("apiServerMultiUser"))
    return {"tag_name": str(version), "multi_user": bool(is_multi_user)}


@contextmanager
def errors_explained(host: str) -> Iterator[None]:
    """Turns what the generated client raises into a `KubeflowError` that says what to do."""
    import urllib3
    from kfp_server_api.exceptions import ApiException

    try:
        yield
    except ApiException as error:
        kind = KubeflowUnreachableError if error.status in _UNAVAILABLE else KubeflowError
        raise kind(_refusal(host, error)) from error
    except urllib3.exceptions.HTTPError as error:
        reason = " ".join(str(error).rpartition(": ")[2].split())
        raise KubeflowUnreachableError(
            f"{host}: cannot be reached: {reason}. Check the address; if Kubeflow Pipelines is inside a cluster, run "
            f"`{_FORWARD}` and give http://localhost:8080."
        ) from error


def _refusal(host: str, error: Any) -> str:
    said = _message(error.body)
    if not error.status:
        reason = " ".join(str(error.reason).split())
        return f"{host}: TLS fails: {reason}. Name the certificate of a private authority in SSL_CERT_FILE."
    if error.status == 401:
        return f"{host}: the token is missing or not accepted (401); set KFP_TOKEN or give --token-file. {said}".strip()
    if error.status == 403:
        return f"{host}: not allowed (403); check --namespace, and what the token may do there. {said}".strip()
    if 300 <= error.status < 400:
        return f"{host}: asks for a login in a browser ({error.status}); set KFP_TOKEN or KFP_COOKIE."
    if error.status == 404 and not _json_object(error.body):
        return _not_kubeflow(host)
    return f"{host}: Kubeflow Pipelines refuses ({error.status}): {said or error.reason}"


def _not_kubeflow(host: str) -> str:
    return (
        f"{host}: what answers is not Kubeflow Pipelines 2: there is no {HEALTH_CHECK}. Give the address of its UI, or "
        "of its API server; in the Kubeflow platform it ends in /pipeline."
    )


def _json_object(body: str | bytes | None) -> dict[str, Any]:
    try:
        value = json.loads(body or "")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _message(body: str | bytes | None) -> str:
    # The gateway says `message`, an upload `error_message`, and a proxy in front whatever it likes.
    values = _json_object(body)
    text = values.get("message") or values.get("error_message") or values.get("error")
    if text is None:
        raw = body.decode("utf-8", "replace") if isinstance(body, bytes) else body or ""
        text = "" if "<" in raw else raw
    return " ".join(str(text).split())
