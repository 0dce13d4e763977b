"""What TF Serving is started with: its three configuration files, and the scripts around it."""

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from google.protobuf.descriptor_pb2 import FieldDescriptorProto
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from registry.labels import CONFIG_POLL_SECONDS, TF_SERVING_ROOT
from registry.signatures import DEFAULT_MODEL_NAME
from serving.server.interface import ServerOptions

_PACKAGE = "tensorflow.serving"
_BOOL, _INT64, _STRING, _MESSAGE = (
    FieldDescriptorProto.TYPE_BOOL,
    FieldDescriptorProto.TYPE_INT64,
    FieldDescriptorProto.TYPE_STRING,
    FieldDescriptorProto.TYPE_MESSAGE,
)

# The Python package has none of the two. Source, tag 2.20.0: tensorflow_serving/config/monitoring_config.proto and
# BatchingParameters of tensorflow_serving/servables/tensorflow/session_bundle_config.proto.
_FIELDS: dict[str, list[tuple[str, int, int, str]]] = {
    "PrometheusConfig": [("enable", 1, _BOOL, ""), ("path", 2, _STRING, "")],
    "MonitoringConfig": [("prometheus_config", 1, _MESSAGE, f".{_PACKAGE}.PrometheusConfig")],
    "BatchingParameters": [
        ("max_batch_size", 1, _MESSAGE, ".google.protobuf.Int64Value"),
        ("batch_timeout_micros", 2, _MESSAGE, ".google.protobuf.Int64Value"),
        ("max_enqueued_batches", 3, _MESSAGE, ".google.protobuf.Int64Value"),
        ("num_batch_threads", 4, _MESSAGE, ".google.protobuf.Int64Value"),
        ("thread_pool_name", 5, _MESSAGE, ".google.protobuf.StringValue"),
        ("allowed_batch_sizes", 6, _INT64, ""),
        ("pad_variable_length_inputs", 7, _BOOL, ""),
        ("enable_large_batch_splitting", 8, _MESSAGE, ".google.protobuf.BoolValue"),
        ("max_execution_batch_size", 9, _MESSAGE, ".google.protobuf.Int64Value"),
    ],
}


def message(name: str) -> Any:
    """An empty message of TF Serving's."""
    file = descriptor_pb2.FileDescriptorProto(name="configuration.proto", package=_PACKAGE, syntax="proto3")
    file.dependency.append(wrappers_pb2.DESCRIPTOR.name)
    for message_name, fields in _FIELDS.items():
        described = file.message_type.add(name=message_name)
        for field, number, kind, type_name in fields:
            repeated = field == "allowed_batch_sizes"
            label = FieldDescriptorProto.LABEL_REPEATED if repeated else FieldDescriptorProto.LABEL_OPTIONAL
            described.field.add(name=field, number=number, type=kind, type_name=type_name or None, label=label)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))()


def test_the_models(tf_serving: Path) -> None:
    config = text_format.Parse((tf_serving / "models.config").read_text(), ModelServerConfig())
    (model,) = config.model_config_list.config
    assert (model.name, model.base_path) == (DEFAULT_MODEL_NAME, f"{TF_SERVING_ROOT}/{DEFAULT_MODEL_NAME}")
    assert model.model_platform == "tensorflow"
    # The newest version, whatever its number; a label would have to name one.
    assert not model.HasField("model_version_policy")
    assert not model.version_labels


def test_monitoring(tf_serving: Path) -> None:
    config = text_format.Parse((tf_serving / "monitoring.config").read_text(), message("MonitoringConfig"))
    assert config.prometheus_config.enable
    assert config.prometheus_config.path == "/monitoring/prometheus/metrics"


def test_batching(tf_serving: Path) -> None:
    config = text_format.Parse((tf_serving / "batching.config").read_text(), message("BatchingParameters"))
    # What the largest request that `digits serve` takes needs here, too.
    assert config.enable_large_batch_splitting.value
    assert config.max_batch_size.value == ServerOptions(serving_root=Path()).max_batch_size
    parts = -(-config.max_batch_size.value // config.max_execution_batch_size.value)
    assert config.max_enqueued_batches.value >= parts
    # "Last entry in allowed_batch_sizes must match max_batch_size": bundle_factory_util.cc.
    assert list(config.allowed_batch_sizes)[-1:] in ([], [config.max_batch_size.value])


@pytest.fixture
def container(tmp_path: Path, tf_serving: Path) -> "Container":
    return Container(tmp_path, tf_serving)


class Container:
    """Runs start.sh with a stand-in for TF Serving, which says what it was started with."""

    def __init__(self, directory: Path, tf_serving: Path) -> None:
        self.models = directory / "models"
        self.models.mkdir()
        self._start = tf_serving / "start.sh"
        self._programs = directory / "bin"
        self._programs.mkdir()
        self.add_program("tensorflow_model_server", 'echo "$@"; exec /bin/sleep 600')
        self.add_program("sleep", 'echo "slept $1"')

    def add_program(self, name: str, script: str) -> None:
        program = self._programs / name
        program.write_text(f"#!/bin/bash\n{script}\n")
        program.chmod(0o755)

    def start(self, *flags: str, **environment: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            ["/bin/bash", self._start, *flags],
            env={"PATH": f"{self._programs}:{os.environ['PATH']}", "MODEL_BASE_PATH": str(self.models), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def flags(self, *flags: str, **environment: str) -> dict[str, str]:
        """The flags that TF Serving is started with."""
        process = self.start(*flags, **environment)
        try:
            assert process.stdout
            given = process.stdout.readline().split()
        finally:
            _end(process)
        return {flag: value for flag, _, value in (text.partition("=") for text in given)}


def _end(process: "subprocess.Popen[str]") -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def test_labels_are_used_where_there_are_any(container: Container, tf_serving: Path) -> None:
    assert container.flags()["--model_config_file"] == str(tf_serving / "models.config")
    (container.models / "models.config").touch()
    assert container.flags()["--model_config_file"] == str(container.models / "models.config")


def test_flags(container: Container, tf_serving: Path, unknown_flags: Callable[[Iterable[str]], list[str]]) -> None:
    flags = container.flags("--port=8500", "--rest_api_port=8501", BATCHING="on")
    assert unknown_flags(flags) == []
    assert flags["--port"] == "8500"
    assert flags["--model_config_file_poll_wait_seconds"] == str(CONFIG_POLL_SECONDS)
    assert "--allow_version_labels_for_unavailable_models" in flags
    assert flags["--monitoring_config_file"] == str(tf_serving / "monitoring.config")


def test_batching_is_off_unless_asked_for(container: Container, tf_serving: Path) -> None:
    assert not [flag for flag in container.flags() if "batching" in flag]
    on = container.flags(BATCHING="on")
    assert "--enable_batching" in on
    assert on["--batching_parameters_file"] == str(tf_serving / "batching.config")
    process = container.start(BATCHING="yes")
    assert process.communicate() == ("", "BATCHING=yes: expected on or off\n")
    assert process.returncode == 2


def test_it_drains_and_stops(container: Container) -> None:
    process = container.start(DRAIN_SECONDS="7")
    try:
        assert process.stdout
        process.stdout.readline()
        process.terminate()
        assert process.wait(timeout=10) == 128 + signal.SIGTERM
        assert process.stdout.readline() == "slept 7\n"
        # Nobody is left to write more.
        assert process.stdout.read() == ""
    finally:
        _end(process)


def test_a_server_that_fails_is_seen(container: Container) -> None:
    container.add_program("tensorflow_model_server", "exit 7")
    process = container.start()
    process.communicate()
    assert process.returncode == 7


@pytest.fixture
def answers() -> Iterator[tuple[dict[str, int], int]]:
    """A server's status code by path, and its port."""
    codes: dict[str, int] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(codes.get(self.path, 404))
            self.end_headers()

        def log_message(self, *arguments: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield codes, server.server_port
    server.shutdown()
    server.server_close()


def test_health(tf_serving: Path, answers: tuple[dict[str, int], int], tmp_path: Path) -> None:
    codes, port = answers

    def is_healthy(port: int) -> bool:
        command = ["/bin/bash", str(tf_serving / "health.sh"), "digits", str(port)]
        # With no other program in reach: the image has few.
        return subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, check=False).returncode == 0

    assert not is_healthy(port)
    codes["/v1/models/digits/metadata"] = 200
    assert is_healthy(port)
    codes["/v1/models/digits/metadata"] = 500
    assert not is_healthy(port)
    assert not is_healthy(1)
