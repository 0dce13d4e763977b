"""The artifact type of verdicts, and how an executor fills one."""

from tfx.types.artifact import Artifact

from components.verdict import Verdict, write_verdict

VERDICT_KEY = "verdict"
PASSED_PROPERTY = "passed"


class VerdictArtifact(Artifact):
    """What a gate decided: `verdict.json`, `verdict.txt`, and as a property whether it let pass (1) or not (0).

    The property is for conditions of the graph. Executors read the file: not every runner hands properties on. It is a
    custom one, and the name of the type has two parts, because TFX compiles nothing else for Kubeflow.
    """

    TYPE_NAME = "digits.Verdict"


def publish_verdict(verdict: Verdict, artifact: Artifact) -> None:
    """Writes a verdict into an artifact.

    Args:
        verdict: What the gate decided.
        artifact: A `VerdictArtifact`, whose folder exists.
    """
    write_verdict(verdict, artifact.uri)
    artifact.set_int_custom_property(PASSED_PROPERTY, int(verdict.passed))
