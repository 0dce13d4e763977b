"""BaselineModel: the model in production, with which the candidate is compared."""

import logging
import shutil
from pathlib import Path

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.orchestration.portable.data_types import ExecutionInfo
from tfx.proto.orchestration.driver_output_pb2 import DriverOutput
from tfx.types import Artifact
from tfx.types.standard_artifacts import Examples, Model
from tfx.utils import path_utils

from components.baseline_driver import (
    ACCEPTED_PROPERTY,
    SERVING_DIRECTORY_KEY,
    VERSION_PROPERTY,
    BaselineDriver,
    baseline_contract,
)
from components.raw_examples import find_contract
from registry.provenance import model_fingerprint
from registry.signing import TrustPolicy
from registry.versions import Version, find_baseline, is_accepted, version_fingerprint

PUBLIC_KEY_KEY = "public_key"
DATA_ACCEPTED_KEY = "data_accepted"

_log = logging.getLogger(__name__)


class Driver(BaselineDriver):
    """Keys the cache with the fingerprint of the model in production, and with whether a person accepted the data.

    A run without the option that repeats the run with which the person accepted the data comes from the cache.
    """

    def run(self, execution_info: ExecutionInfo) -> DriverOutput:
        """Sets the execution properties `baseline` and `data_accepted`; TFX calls this."""
        output = super().run(execution_info)
        [candidate] = execution_info.input_dict["candidate"]
        keys = (DATA_ACCEPTED_KEY, SERVING_DIRECTORY_KEY, PUBLIC_KEY_KEY)
        accepted = _is_accepted(candidate, *(execution_info.exec_properties[key] for key in keys))
        output.exec_properties[DATA_ACCEPTED_KEY].int_value = accepted
        return output

    def baseline_identity(self, execution_info: ExecutionInfo) -> str:
        """Returns the `model_fingerprint` of the baseline."""
        [candidate], [examples] = (execution_info.input_dict[key] for key in ("candidate", "examples"))
        properties = execution_info.exec_properties
        baseline, _ = _find_baseline(candidate, examples, properties[SERVING_DIRECTORY_KEY], properties[PUBLIC_KEY_KEY])
        return version_fingerprint(baseline) if baseline else ""


@component
def BaselineModel(  # noqa: N802 (the name of the step)
    candidate: InputArtifact[Model],
    examples: InputArtifact[Examples],
    baseline_model: OutputArtifact[Model],
    serving_directory: Parameter[str],
    public_key: Parameter[str],
    data_accepted: Parameter[int],
    baseline: Parameter[str] = "",
) -> None:
    """Fetches the newest pushed version that holds another model than the candidate.

    TFX's Resolver would query ML Metadata, which open-source Kubeflow Pipelines does not support and which does not
    know rollbacks. The serving folder is the same on every runner, and only Pusher and `digits rollback` write to it.
    The candidate itself is skipped, so that a repeated run can use the cache, and so are versions that are not trusted,
    because Evaluator runs the model. If that version has other classes or another image size, there is no baseline.

    Args:
        candidate: The model of this run.
        examples: Raw tf.Examples, whose schema has the contract of the candidate.
        baseline_model: A copy of the version; empty if there is none.
        serving_directory: Folder of the pushed versions, which need not exist.
        public_key: The key that must have signed the version, in PEM format; if empty, it need not be signed.
        data_accepted: 1 if a person has accepted the data even if it contradicts the baseline, else 0.
        baseline: Set by the driver for the cache.
    """
    version, reason = _find_baseline(candidate, examples, serving_directory, public_key)
    if reason:
        _log.info("%s", reason)
    baseline_model.set_string_custom_property(VERSION_PROPERTY, str(version.number) if version else "")
    accepted = _is_accepted(candidate, data_accepted, serving_directory, public_key)
    baseline_model.set_int_custom_property(ACCEPTED_PROPERTY, accepted)
    if version:
        shutil.copytree(version.directory, path_utils.serving_model_path(baseline_model.uri), dirs_exist_ok=True)


# The decorator does not accept a driver.
BaselineModel.DRIVER_CLASS = Driver


def _find_baseline(
    candidate: Artifact, examples: Artifact, serving_directory: str, public_key: str
) -> tuple[Version | None, str]:
    """Returns the baseline, or None and why the version that could be one cannot be compared."""
    version = find_baseline(Path(serving_directory), _fingerprint(candidate), TrustPolicy(public_key.encode() or None))
    if version is None:
        return None, ""
    of_version, of_candidate = baseline_contract(version.directory), find_contract(examples)
    if of_version == of_candidate:
        return version, ""
    what = "its classes or image size differ" if of_version else "it has no schema"
    return None, f"version {version.number} is not the baseline: {what}"


def _is_accepted(candidate: Artifact, data_accepted: int, serving_directory: str, public_key: str) -> int:
    """Returns 1 if a person has accepted the data of the candidate, now or when its version was made, else 0."""
    policy = TrustPolicy(public_key.encode() or None)
    return int(bool(data_accepted) or is_accepted(Path(serving_directory), _fingerprint(candidate), policy))


def _fingerprint(candidate: Artifact) -> str:
    return model_fingerprint(Path(path_utils.serving_model_path(candidate.uri)))
