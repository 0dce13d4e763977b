"""Errors of `digits deploy`: one line, the right exit code, and no changes on the server."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

Json = dict[str, Any]
Deploy = Callable[..., Result]

HTML = (200, b"<html>Hello</html>", {"content-type": "text/html"})
LOGIN = (302, b"", {"location": "https://example.com/dex/auth"})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--param", "epoch=3"], "no such parameter; did you mean 'epochs'? Parameters: data_uri (STRING, default"),
        (["--param", "epochs=many"], "parameter epochs (NUMBER_INTEGER, default 8): expected an integer, not 'many'."),
        (["--param", "epochs=3.5"], "expected an integer, not '3.5'."),
        (["--param", "min_accuracy=nan"], "(NUMBER_DOUBLE, default 0.99): expected a number, not 'nan'."),
        (["--param", "min_accuracy=2"], "evaluation.min_accuracy: Input should be less than or equal to 1, not 2.0."),
        (["--param", "epochs"], "parameter 'epochs': expected name=value, such as epochs=3."),
        (["--schedule", "0 25 * * *"], "schedule '0 25 * * *': Bad hour; expected minute, hour"),
        (["--schedule", "0 2 * * *", "--wait"], "--wait follows a run that starts now"),
        (["--image", "digits:2"], "--file is already compiled"),
        (["--host", "localhost:8080"], "Did you mean http://localhost:8080?"),
        (["--host", "ftp://example.com"], "host 'ftp://example.com': expected the address of Kubeflow Pipelines"),
        (["--host", "http://me:secret@example.com"], "without user and password; set KFP_TOKEN"),
        (["--host", "http://"], "host 'http://': expected the address of Kubeflow Pipelines, such as http://local"),
        (["--host", ""], "or https://kubeflow.example.com/pipeline.\n"),
        (["--host", "http://localhost:99999"], "host 'http://localhost:99999': expected the address of Kubeflow"),
        (["--host", "http://[::1"], "host 'http://[::1': expected the address of Kubeflow Pipelines"),
        (["--param", "=2"], "parameter '=2': expected name=value, such as epochs=3."),
        (["--file", "missing.yaml"], "File 'missing.yaml' does not exist."),
        (["--token-file", "missing"], "token file missing: cannot be read"),
        (["--token-file", "empty"], "token file empty: is empty."),
    ],
)
def test_wrong_use_sends_no_request(
    kubeflow: Any, deploy: Deploy, tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "empty").touch()
    result = deploy(*arguments)
    assert (result.exit_code, kubeflow.requests) == (2, []), result.output
    assert message in result.stderr
    assert "secret" not in result.output
    assert len(result.stderr.splitlines()) == 1 or result.stderr.startswith("Usage: ")


@pytest.mark.parametrize(
    ("behavior", "arguments", "exit_code", "message"),
    [
        ({"instead": {"/healthz": [HTML]}}, [], 1, "the server is not Kubeflow Pipelines 2"),
        ({"instead": {"/healthz": [(404, b"not here", {})]}}, [], 1, "the server is not Kubeflow Pipelines 2"),
        ({"instead": {"/healthz": [LOGIN]}}, [], 1, "redirects to a login in a browser (302); set KFP_TOKEN"),
        (
            {"instead": {"/healthz": [(200, b'{"apiServerReady": false}', {})]}},
            [],
            1,
            "but its API server (ml-pipeline) does not",
        ),
        (
            {"instead": {"/healthz": [(503, b"no healthy upstream", {})]}},
            [],
            1,
            "rejected the request (503): no healthy upstream",
        ),
        ({"tag_name": "2.4.1"}, [], 1, "Kubeflow Pipelines 2.4.1 is too old: 2.5 is the first version"),
        (
            {"secret": ("authorization", "Bearer right")},
            [],
            1,
            "the token is missing or not accepted (401); set KFP_TOKEN or use --token-file.",
        ),
        ({"user_namespace": "ada"}, [], 2, "has one namespace per user: set yours with --namespace."),
        ({"user_namespace": "ada"}, ["--namespace", "eve"], 1, "not allowed (403); check --namespace"),
        ({}, ["--namespace", "ada"], 2, "has a single user and runs everything in its own namespace"),
        ({"instead": {"/experiments": [(500, b'{"code": 13, "message": "no\\ndisk"}', {})]}}, [], 1, "(500): no disk"),
        (
            {"experiments": [{"experiment_id": "1", "display_name": "digits", "storage_state": "ARCHIVED"}]},
            [],
            1,
            "the experiment digits is archived; restore it in the UI, or set another with --experiment.",
        ),
    ],
)
def test_errors_of_the_server_are_one_line_and_nothing_is_written(
    kubeflow: Any, deploy: Deploy, behavior: Json, arguments: list[str], exit_code: int, message: str
) -> None:
    vars(kubeflow).update(behavior)
    result = deploy(*arguments)
    assert (result.exit_code, result.stdout, kubeflow.writes) == (exit_code, "", []), result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"Error: {'namespace ada: ' if not behavior else kubeflow.url}")
    assert message in line


def test_no_server(deploy: Deploy) -> None:
    result = deploy("--host", "http://127.0.0.1:1")
    assert result.exit_code == 1
    assert re.fullmatch(
        r"Error: http://127.0.0.1:1: cannot be reached: .*Connection refused. .*`kubectl port-forward .*\n",
        result.stderr,
    )


def test_a_token_is_sent_and_never_shown(
    kubeflow: Any, deploy: Deploy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kubeflow.secret = ("authorization", "Bearer right")
    (tmp_path / "token").write_text("right\n")
    assert deploy("--token-file", "token").exit_code == 0
    monkeypatch.setenv("KFP_TOKEN", "right")
    assert deploy().exit_code == 0
    monkeypatch.setenv("KFP_TOKEN", "wrong")
    assert deploy("--token-file", "token").exit_code == 0
    refused = deploy()
    assert (refused.exit_code, "wrong" in refused.output) == (1, False)
    kubeflow.secret = ("cookie", "session=1")
    monkeypatch.setenv("KFP_COOKIE", "session=1")
    assert deploy().exit_code == 0


@pytest.mark.parametrize("value", ["secret\nsecret", "“secret”", "secret\x7f"])
@pytest.mark.parametrize("source", ["KFP_TOKEN", "KFP_COOKIE", "token file wrong"])
def test_values_that_are_invalid_in_a_header_are_refused_and_never_shown(
    kubeflow: Any, deploy: Deploy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, value: str
) -> None:
    (tmp_path / "wrong").write_text(value)
    if source.startswith("KFP"):
        monkeypatch.setenv(source, value)
    result = deploy(*(["--token-file", "wrong"] if " " in source else []))
    assert (result.exit_code, kubeflow.requests) == (2, [])
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"Error: {source}: expected one line of ASCII characters")
    assert "secret" not in result.output


def test_a_token_without_encryption_causes_a_warning(
    kubeflow: Any, deploy: Deploy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KFP_TOKEN", "secret")
    assert deploy().stderr == ""
    monkeypatch.setattr("pipeline.cli.deploy.is_loopback", lambda host: False)
    result = deploy("--host", f"{kubeflow.url}/pipeline/#/runs")
    assert result.exit_code == 0
    assert result.stderr == f"Warning: the token is sent to {kubeflow.url}/pipeline without encryption.\n"


def test_everything_is_created_in_the_namespace(kubeflow: Any, deploy: Deploy) -> None:
    kubeflow.user_namespace = "ada"
    kubeflow.run_states = [{"state": "FAILED"}]
    result = deploy("--namespace", "ada", "--wait")
    assert "kubectl logs --namespace ada " in result.stderr
    assert {each["namespace"] for each in (*kubeflow.pipelines, *kubeflow.experiments)} == {"ada"}


@pytest.mark.parametrize("has_platform", [True, False])
def test_the_name_of_another_pipeline_is_refused(
    kubeflow: Any, deploy: Deploy, compiled_file: Path, has_platform: bool
) -> None:
    if not has_platform:
        compiled_file.write_text(compiled_file.read_text().partition("---")[0])
    deploy()
    (version,) = kubeflow.versions
    for name in ("DataGate", "Trainer", "Pusher"):
        text = json.dumps(version["pipeline_spec"]).replace(f'"{name}": {{"taskInfo', f'"X{name}": {{"taskInfo')
        version["pipeline_spec"] = json.loads(text)
    number_of_writes = len(kubeflow.writes)
    result = deploy()
    assert result.exit_code == 1
    assert (
        "another pipeline with the name digits, with other steps: XDataGate, XPusher, XTrainer; choose" in result.stderr
    )
    assert len(kubeflow.writes) == number_of_writes


def test_a_refused_upload_leaves_nothing(kubeflow: Any, deploy: Deploy) -> None:
    refusal = json.dumps({"error_message": "invalid v2 pipeline spec", "error_details": "…"}).encode()
    kubeflow.instead["/pipelines/upload_version"] = [(400, refusal, {})]
    result = deploy()
    assert result.exit_code == 1
    assert "Kubeflow Pipelines rejected the request (400): invalid v2 pipeline spec\n" in result.stderr
    assert (kubeflow.pipelines, kubeflow.experiments, kubeflow.runs) == ([], [], [])
