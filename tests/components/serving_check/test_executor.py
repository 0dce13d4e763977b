import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tfx.components.pusher.executor import Executor as PusherExecutor
from tfx.types.standard_artifacts import Examples, InfraBlessing, Model

from components.serving_check import executor
from components.serving_check.executor import Executor
from components.serving_check.limits import ServingLimits
from components.verdict import Finding, read_verdict
from components.verdict_artifact import VerdictArtifact

Run = Callable[[Path], tuple[InfraBlessing, VerdictArtifact]]


@pytest.fixture
def run(
    make_examples: Callable[[Path, np.ndarray], Examples], images: np.ndarray, limits: ServingLimits, tmp_path: Path
) -> Run:
    """Runs the step on an export."""

    def run_on(export: Path) -> tuple[InfraBlessing, VerdictArtifact]:
        model, blessing, verdict = Model(), InfraBlessing(), VerdictArtifact()
        for artifact, name in ((model, "model"), (blessing, "blessing"), (verdict, "verdict")):
            artifact.uri = str(tmp_path / name)
            Path(artifact.uri).mkdir()
        (Path(model.uri) / "Format-Serving").symlink_to(export)
        Executor().Do(
            {"model": [model], "examples": [make_examples(tmp_path, images)]},
            {"blessing": [blessing], "verdict": [verdict]},
            {"split": "test", "limits": limits.model_dump_json(), "model_name": "digits"},
        )
        return blessing, verdict

    return run_on


def test_a_good_export_is_blessed(run: Run, good_export: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="components"):
        blessing, verdict = run(good_export)
    assert verdict.get_int_custom_property("passed") == 1
    assert read_verdict(verdict.uri).passed
    assert (Path(verdict.uri) / "fresh_process.log").exists()
    pusher = PusherExecutor()
    assert pusher.CheckBlessing({"infra_blessing": [blessing]})
    model = Path(pusher.GetModelPath({"infra_blessing": [blessing]}))
    assert (model / "assets.extra" / "tf_serving_warmup_requests").stat().st_size > 0
    assert "session-based loader: 4 signatures, median " in caplog.text


def test_a_refused_export_keeps_its_verdict(run: Run, good_export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = Finding("empty batch", "pixels", passed=False, reason="no answer")
    received: list[Any] = []

    def refuse(*arguments: Any) -> list[Finding]:
        received.extend(arguments)
        return [refusal]

    monkeypatch.setattr(executor, "check_export", refuse)
    blessing, verdict = run(good_export)
    assert verdict.get_int_custom_property("passed") == 0
    assert read_verdict(verdict.uri).findings == (refusal,)
    assert read_verdict(verdict.uri).gate == "ServingCheck"
    assert not PusherExecutor().CheckBlessing({"infra_blessing": [blessing]})
    assert [path.name for path in Path(blessing.uri).iterdir()] == ["INFRA_NOT_BLESSED"]
    model_path, images, limits, log_file = received
    assert model_path.endswith("Format-Serving")
    assert len(images) == limits.num_requests == 8
    assert log_file.parent == Path(verdict.uri)


def test_a_split_without_examples_is_an_error(
    make_examples: Callable[[Path, np.ndarray], Examples], images: np.ndarray, limits: ServingLimits, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="split 'test' has no examples, expected at least one to send to the export"):
        Executor().Do(
            {"model": [Model()], "examples": [make_examples(tmp_path, images[:0])]},
            {"blessing": [InfraBlessing()], "verdict": [VerdictArtifact()]},
            {"split": "test", "limits": limits.model_dump_json(), "model_name": "digits"},
        )
