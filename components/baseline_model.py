"""BaselineModel: the model in production, with which the candidate is compared."""

import shutil
from pathlib import Path
from typing import Any, ClassVar

from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.orchestration.portable.data_types import ExecutionInfo
from tfx.types import Artifact, BaseChannel, Channel, artifact_utils
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.types.standard_artifacts import Model
from tfx.utils import path_utils

from components.baseline_driver import BASELINE_KEY, SERVING_DIRECTORY_KEY, BaselineDriver
from registry.provenance import model_fingerprint, read_provenance, verify_files
from registry.versions import Version, find_baseline, version_fingerprint

CANDIDATE_KEY = "candidate"
BASELINE_MODEL_KEY = "baseline_model"
ArtifactDict = dict[str, list[Artifact]]

VERSION_PROPERTY = "version"
"""Custom property of the baseline: its version number as text; empty if there is no baseline."""


class Driver(BaselineDriver):
    """Keys the cache with the fingerprint of the model in production."""

    def baseline_identity(self, execution_info: ExecutionInfo) -> str:
        """Returns the `model_fingerprint` of the baseline."""
        [candidate] = execution_info.input_dict[CANDIDATE_KEY]
        baseline = _find_baseline(candidate, execution_info.exec_properties[SERVING_DIRECTORY_KEY])
        return version_fingerprint(baseline) if baseline else ""


class Executor(BaseExecutor):
    """Executor of BaselineModel."""

    def Do(  # noqa: N802 (the name is TFX's)
        self, input_dict: ArtifactDict, output_dict: ArtifactDict, exec_properties: dict[str, Any]
    ) -> None:
        """Verifies the baseline and copies it to the output, which stays empty without one; TFX calls this.

        Raises:
            DamagedVersionError: A file of the baseline differs from what was pushed.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        candidate = artifact_utils.get_single_instance(input_dict[CANDIDATE_KEY])
        output = artifact_utils.get_single_instance(output_dict[BASELINE_MODEL_KEY])
        baseline = _find_baseline(candidate, exec_properties[SERVING_DIRECTORY_KEY])
        output.set_string_custom_property(VERSION_PROPERTY, str(baseline.number) if baseline else "")
        if baseline:
            if provenance := read_provenance(baseline.directory):
                verify_files(baseline.directory, provenance)
            shutil.copytree(baseline.directory, path_utils.serving_model_path(output.uri), dirs_exist_ok=True)


class BaselineModelSpec(ComponentSpec):
    """Contract of BaselineModel."""

    PARAMETERS: ClassVar[dict[str, ExecutionParameter]] = {
        key: ExecutionParameter(type=str) for key in (SERVING_DIRECTORY_KEY, BASELINE_KEY)
    }
    INPUTS: ClassVar[dict[str, ChannelParameter]] = {CANDIDATE_KEY: ChannelParameter(type=Model)}
    OUTPUTS: ClassVar[dict[str, ChannelParameter]] = {BASELINE_MODEL_KEY: ChannelParameter(type=Model)}


class BaselineModel(BaseComponent):
    """Fetches the newest pushed version that holds another model than the candidate.

    TFX's Resolver would query ML Metadata, which open-source Kubeflow Pipelines does not support and which does not
    know rollbacks. The serving folder is the same on every runner, and only Pusher and `digits rollback` write to it.
    The candidate itself is skipped, so that a repeated run can use the cache.
    """

    SPEC_CLASS = BaselineModelSpec
    EXECUTOR_SPEC = ExecutorClassSpec(Executor)
    DRIVER_CLASS = Driver

    def __init__(self, candidate: BaseChannel, serving_directory: Path) -> None:
        """Defines the step for the model of this run and the folder of the pushed versions, which need not exist."""
        super().__init__(
            BaselineModelSpec(
                candidate=candidate,
                serving_directory=str(serving_directory),
                baseline="",
                baseline_model=Channel(type=Model),
            )
        )


def _find_baseline(candidate: Artifact, serving_directory: str) -> Version | None:
    model = Path(path_utils.serving_model_path(candidate.uri))
    return find_baseline(Path(serving_directory), model_fingerprint(model))
