from pathlib import Path

import pytest

from components.verdict import Finding, Verdict, read_verdict
from components.verdict_artifact import VerdictArtifact, publish_verdict


@pytest.mark.parametrize("passed", [True, False])
def test_the_decision_is_a_property_of_the_artifact(tmp_path: Path, passed: bool) -> None:
    artifact = VerdictArtifact()
    artifact.uri = str(tmp_path)
    verdict = Verdict("Evaluator", (Finding("accuracy", "all", passed=passed),), advice="")
    publish_verdict(verdict, artifact)
    assert artifact.get_int_custom_property("passed") == int(passed)
    assert artifact.mlmd_artifact.custom_properties["passed"].int_value == int(passed)
    assert read_verdict(tmp_path) == verdict
