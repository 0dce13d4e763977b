"""deploy/compose.yaml: valid, complete, confined, and in agreement with what it starts."""

import importlib.resources
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from registry.labels import TF_SERVING_ROOT
from registry.signatures import DEFAULT_GRPC_PORT, DEFAULT_MODEL_NAME, DEFAULT_REST_PORT

SERVICES = ("tf-serving", "web")
_SETTING = re.compile(r"\$\{([A-Z_]+):-([^}]*)\}")


@pytest.fixture(scope="module")
def text(deploy: Path) -> str:
    return (deploy / "compose.yaml").read_text()


@pytest.fixture(scope="module")
def compose(text: str) -> dict[str, Any]:
    """The file with the default of each setting."""
    return yaml.safe_load(_SETTING.sub(r"\2", text))


def test_the_compose_specification_allows_it(compose: dict[str, Any]) -> None:
    folder = importlib.resources.files("check_jsonschema") / "builtin_schemas" / "vendor"
    schema = json.loads((folder / "compose-spec.json").read_text())
    jsonschema.validate(compose, schema)
    with pytest.raises(jsonschema.ValidationError, match="'healtcheck' was unexpected"):
        jsonschema.validate({"services": {"web": {"image": "nginx", "healtcheck": {}}}}, schema)


def test_docker_compose_takes_it(deploy: Path) -> None:
    program = shutil.which("docker-compose")
    if program is None:
        pytest.skip("docker-compose is not installed; .ci/run installs Debian's")
    command = [program, "--file", str(deploy / "compose.yaml"), "config", "--format", "json"]
    environment = {**os.environ, "TF_SERVING_TAG": "2.19.1", "TF_SERVING_BATCHING": "on"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    server = json.loads(result.stdout)["services"]["tf-serving"]
    assert server["image"] == "tensorflow/serving:2.19.1"
    assert server["environment"]["BATCHING"] == "on"


def test_every_setting_has_a_default(text: str) -> None:
    assert re.findall(r"\$\{?[A-Z]\w*(?!\w*:-)", re.sub(_SETTING, "", text)) == []


@pytest.mark.parametrize("service", SERVICES)
def test_confined(compose: dict[str, Any], service: str) -> None:
    options = compose["services"][service]
    assert options["read_only"] is True
    assert options["cap_drop"] == ["ALL"]
    assert options["security_opt"] == ["no-new-privileges:true"]
    assert int(options["user"].split(":")[0]) > 0
    assert all(volume["read_only"] for volume in options["volumes"])
    assert set(options["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    assert options["restart"] == "unless-stopped"
    # This driver rotates its files, unlike Docker's default.
    assert options["logging"] == {"driver": "local"}
    # Nobody is asked who they are: not without somebody's decision beyond this machine.
    assert all(port.startswith("127.0.0.1:") for port in options["ports"])


def test_one_setting_exposes_only_the_service_with_limits(text: str) -> None:
    services = yaml.safe_load(_SETTING.sub(r"\1", text))["services"]
    addresses = {name: {port.split(":")[0] for port in service["ports"]} for name, service in services.items()}
    assert addresses == {"web": {"BIND_ADDRESS"}, "tf-serving": {"TF_SERVING_BIND_ADDRESS"}}


@pytest.mark.parametrize("service", SERVICES)
def test_what_is_mounted_is_there(compose: dict[str, Any], deploy: Path, service: str) -> None:
    sources = [volume["source"] for volume in compose["services"][service]["volumes"]]
    assert [source for source in sources if not (deploy / source).exists()] in ([], ["../workspace/serving"])


def test_tf_serving(compose: dict[str, Any], unknown_flags: Callable[[Iterable[str]], list[str]]) -> None:
    server = compose["services"]["tf-serving"]
    assert unknown_flags(server["command"]) == []
    assert f"--port={DEFAULT_GRPC_PORT}" in server["command"]
    assert f"--rest_api_port={DEFAULT_REST_PORT}" in server["command"]
    assert {port.rsplit(":", 1)[1] for port in server["ports"]} == {str(DEFAULT_GRPC_PORT), str(DEFAULT_REST_PORT)}
    targets = {volume["target"]: volume["source"] for volume in server["volumes"]}
    assert targets == {"/config": "../serving/tf_serving", TF_SERVING_ROOT: "../workspace/serving"}
    assert server["entrypoint"] == ["/bin/bash", "/config/start.sh"]
    check = ["CMD", "/bin/bash", "/config/health.sh", DEFAULT_MODEL_NAME, str(DEFAULT_REST_PORT)]
    assert server["healthcheck"]["test"] == check
    # As many threads as cores that it may use.
    limits = server["deploy"]["resources"]["limits"]
    assert f"--tensorflow_session_parallelism={limits['cpus']}" in server["command"]


def test_the_page_waits_for_a_model(compose: dict[str, Any]) -> None:
    assert compose["services"]["web"]["depends_on"] == {"tf-serving": {"condition": "service_healthy", "restart": True}}
