"""The artifact type of verdicts, apart from `components.verdict` so that this can be imported without TFX."""

from tfx.types.artifact import Artifact

from components.verdict import Verdict, write_verdict
from registry.provenance import VERDICT_TYPE

VERDICT_KEY = "verdict"
PASSED_PROPERTY = "passed"


class VerdictArtifact(Artifact):
    """A verdict: `verdict.json`, `verdict.txt`, and the custom property `passed`, 1 or 0, for conditions of the graph.

    Executors read the file, because some runners drop properties. TFX compiles for Kubeflow only custom properties and
    type names of two parts.
    """

    TYPE_NAME = VERDICT_TYPE


def publish_verdict(verdict: Verdict, artifact: Artifact) -> None:
    """Writes a verdict into the existing folder of a `VerdictArtifact` and sets its property."""
    write_verdict(verdict, artifact.uri)
    artifact.set_int_custom_property(PASSED_PROPERTY, int(verdict.passed))
