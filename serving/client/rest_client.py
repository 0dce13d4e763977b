"""Sends requests to a server with TF Serving's REST API, such as `digits serve`."""

import base64
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, NoReturn
from urllib.parse import urlsplit

import numpy as np
import requests
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies, select_proxy
from urllib3.util import Retry

from registry.signatures import INPUTS, MODELS_PATH, NORMALIZED_IMAGE_OUTPUT
from serving.client.client import Client, ClientError, RejectedInputError

_CONNECT_TIMEOUT_SECONDS = 5.0
_READ_TIMEOUT_SECONDS = 60.0
# A restarting server is back after about a second; a gateway may limit requests. Requests that the server may be
# working on are not repeated.
_RETRY = Retry(
    total=3,
    read=False,
    status_forcelist=(HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS),
    allowed_methods=None,
    backoff_factor=0.2,
    raise_on_status=False,
)


class RestClient(Client):
    """A model behind TF Serving's REST API.

    Source: https://www.tensorflow.org/tfx/serving/api_rest
    """

    def __init__(
        self, url: str, model: str, version: int | None = None, timeout_seconds: float = _READ_TIMEOUT_SECONDS
    ) -> None:
        """Prepares requests; nothing is sent yet.

        Args:
            url: Server, such as `http://localhost:8501`.
            model: Name of the model.
            version: Version to ask, or None for the choice of the server.
            timeout_seconds: Longest time to wait for an answer.
        """
        self._server = url.rstrip("/")
        self._model = model
        self._version = version
        self._timeouts = (min(_CONNECT_TIMEOUT_SECONDS, timeout_seconds), timeout_seconds)
        self._session = requests.Session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=_RETRY))

    def close(self) -> None:
        """Closes the connections."""
        self._session.close()

    def _ask(self, signature: str, values: Sequence[bytes]) -> tuple[Mapping[str, np.ndarray], int | None]:
        encoded = [{"b64": base64.b64encode(value).decode("ascii")} for value in values]
        response = self._post({"signature_name": signature, "inputs": {INPUTS[signature]: encoded}})
        try:
            body = response.json()
        except requests.JSONDecodeError:
            self._refuse_api(f"it returned HTTP {response.status_code} without JSON")
        body = body if isinstance(body, dict) else {}
        if response.status_code != HTTPStatus.OK:
            self._refuse(response.status_code, str(body.get("error", response.reason)))
        if "outputs" not in body:
            self._refuse_api(f"its response has {', '.join(body) or 'nothing'}, expected `outputs`")
        outputs = body["outputs"]
        # TF Serving omits the name of a single output, which only `normalize` has.
        named = outputs if isinstance(outputs, dict) else {NORMALIZED_IMAGE_OUTPUT: outputs}
        return {name: np.asarray(output) for name, output in named.items()}, self._version

    def _post(self, request: dict[str, Any]) -> requests.Response:
        version = "" if self._version is None else f"/versions/{self._version}"
        url = f"{self._server}{MODELS_PATH}/{self._model}{version}:predict"
        try:
            return self._session.post(url, json=request, timeout=self._timeouts)
        except requests.Timeout as error:
            raise ClientError(
                f"{self._server} has not answered within {self._timeouts[1]:g} s; check the server, or try again."
            ) from error
        except requests.ConnectionError as error:
            raise ClientError(
                f"{self._server} cannot be reached; start a server with `digits serve`, or check host and port "
                f"(TF Serving's REST API is at 8501).{self._proxy_hint()}"
            ) from error
        except requests.RequestException as error:
            raise ClientError(f"{self._server}: {error}; expected a URL such as http://localhost:8501.") from error

    def _refuse_api(self, reason: str) -> NoReturn:
        raise ClientError(
            f"{self._server} does not have TF Serving's REST API: {reason}. Check host and port.{self._proxy_hint()}"
        )

    def _refuse(self, status: int, message: str) -> NoReturn:
        if status in (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE):
            raise RejectedInputError(message)
        if status == HTTPStatus.NOT_FOUND:
            version = "" if self._version is None else f", version {self._version}"
            raise ClientError(
                f"{self._server} does not serve {self._model!r}{version}: {message}. Check the name and the version; "
                f"{self._server}{MODELS_PATH}/{self._model} lists the versions."
            )
        raise ClientError(f"{self._server} failed with HTTP {status}: {message}{self._proxy_hint()}")

    def _proxy_hint(self) -> str:
        """Returns a sentence on the proxy that the environment names for the server, if any."""
        proxy = select_proxy(self._server, get_environ_proxies(self._server))
        variables = " or ".join(f"{scheme}_PROXY" for scheme in (urlsplit(self._server).scheme.upper(), "ALL"))
        if not proxy:
            return ""
        host = urlsplit(self._server).hostname
        return f" Requests go through the proxy {proxy}, which {variables} names; to avoid it, set NO_PROXY={host}."
