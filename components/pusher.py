"""AtomicPusher: TFX's Pusher with atomic publishing, required verdicts, provenance and signatures."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from ml_metadata.proto.metadata_store_pb2 import Artifact as MlmdArtifact
from tfx.components.pusher import executor as tfx_pusher
from tfx.components.util.model_utils import is_infra_validated
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.orchestration.portable.data_types import ExecutionInfo
from tfx.proto.orchestration.driver_output_pb2 import DriverOutput
from tfx.types import Artifact, BaseChannel, Channel, artifact_utils
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.types.standard_artifacts import (
    Examples,
    ExampleStatistics,
    InfraBlessing,
    Model,
    ModelBlessing,
    PushedModel,
    TransformGraph,
)
from tfx.types.standard_component_specs import (
    BASELINE_MODEL_KEY,
    EXAMPLES_KEY,
    INFRA_BLESSING_KEY,
    MODEL_BLESSING_KEY,
    MODEL_KEY,
    PUSHED_MODEL_KEY,
    STATISTICS_KEY,
    TRANSFORM_GRAPH_KEY,
)
from tfx.utils import io_utils, path_utils

from components.baseline_driver import BASELINE_KEY, SERVING_DIRECTORY_KEY, VERSION_PROPERTY, BaselineDriver
from components.features import FINGERPRINT_KEY, ORIGINAL_URI_KEY, SCHEMA_FILE, TRAIN_SPLIT, URI_KEY
from components.verdict import Verdict, read_verdict
from components.verdict_artifact import VerdictArtifact
from registry.provenance import (
    EXTRA_FOLDER,
    DamagedVersionError,
    DataOrigin,
    GateRecord,
    Ingredients,
    Origin,
    installed_software,
    model_fingerprint,
    read_provenance,
)
from registry.publishing import publish, require_file_system
from registry.signing import TrustPolicy
from registry.versions import SAVED_MODEL_FILE, TRAIN_STATISTICS_FILE, find_baseline

VERDICT_KEYS = ("data_verdict", "evaluation_verdict", "robustness_verdict", "serving_verdict")
"""The verdicts of the gates, in the order of the pipeline."""

INFRA_VALIDATOR_BLESSING_KEY = "infra_validator_blessing"
CODE_KEY = "code"
SETTINGS_KEY = "settings"
PRIVATE_KEY_KEY = "private_key"
"""Execution property for the file of the key that signs versions; empty if they are not signed."""

_HAS_MODEL_PROPERTY = "has_model"

_STATISTICS_FILE = "FeatureStats.pb"
"""From tfx/components/statistics_gen/executor.py, whose import would load TFDV, Beam and TensorFlow."""

_log = logging.getLogger(__name__)

ArtifactDict = dict[str, list[Artifact]]


class AtomicPusherSpec(ComponentSpec):
    """Contract of AtomicPusher."""

    PARAMETERS: ClassVar[dict[str, ExecutionParameter]] = {
        key: ExecutionParameter(type=str)
        for key in (SERVING_DIRECTORY_KEY, PRIVATE_KEY_KEY, CODE_KEY, SETTINGS_KEY, BASELINE_KEY)
    }
    INPUTS: ClassVar[dict[str, ChannelParameter]] = {
        MODEL_KEY: ChannelParameter(type=Model),
        MODEL_BLESSING_KEY: ChannelParameter(type=ModelBlessing),
        INFRA_BLESSING_KEY: ChannelParameter(type=InfraBlessing),
        INFRA_VALIDATOR_BLESSING_KEY: ChannelParameter(type=InfraBlessing, optional=True),
        EXAMPLES_KEY: ChannelParameter(type=Examples),
        STATISTICS_KEY: ChannelParameter(type=ExampleStatistics),
        TRANSFORM_GRAPH_KEY: ChannelParameter(type=TransformGraph),
        BASELINE_MODEL_KEY: ChannelParameter(type=Model),
        **{key: ChannelParameter(type=VerdictArtifact) for key in VERDICT_KEYS},
    }
    OUTPUTS: ClassVar[dict[str, ChannelParameter]] = {PUSHED_MODEL_KEY: ChannelParameter(type=PushedModel)}


class Driver(BaselineDriver):
    """Repeats a push that TFX's cache alone would skip.

    - A model that returns after a push of another model: the cache key contains the run that pushed the newest other
      model. A rollback is not a push, so a repeated run does not undo a rollback.
    - A model whose pushed version was deleted or is no longer verified: TFX's cache ignores the serving folder, so the
      driver marks the artifact of such a version as deleted.
    """

    def run(self, execution_info: ExecutionInfo) -> DriverOutput:
        """Marks artifacts of unusable versions and sets the execution property `baseline`; TFX calls this."""
        policy = TrustPolicy(Path(execution_info.exec_properties[PRIVATE_KEY_KEY]))
        with self._metadata_handle as metadata:
            deleted = [
                artifact
                for artifact in metadata.store.get_artifacts_by_type(PushedModel.TYPE_NAME)
                if artifact.state != MlmdArtifact.DELETED
                and (version := artifact.custom_properties["pushed_destination"].string_value)
                and (not Path(version, SAVED_MODEL_FILE).exists() or policy.refusal(Path(version)))
            ]
            for artifact in deleted:
                artifact.state = MlmdArtifact.DELETED
            metadata.store.put_artifacts(deleted)
        return super().run(execution_info)

    def baseline_identity(self, execution_info: ExecutionInfo) -> str:
        """Returns the id of the run that pushed the newest other model; a rollback has the id of its original."""
        [model] = execution_info.input_dict[MODEL_KEY]
        candidate = model_fingerprint(Path(path_utils.serving_model_path(model.uri)))
        serving_directory = Path(execution_info.exec_properties[SERVING_DIRECTORY_KEY])
        version = find_baseline(serving_directory, candidate, TrustPolicy())
        if version is None:
            return ""
        try:
            provenance = read_provenance(version.directory)
        except DamagedVersionError:
            provenance = None
        return (provenance and provenance.origin.pipeline_run) or str(version.number)


class Executor(tfx_pusher.Executor):
    """Executor of AtomicPusher."""

    def CheckBlessing(self, input_dict: ArtifactDict) -> bool:  # noqa: N802 (the name is TFX's)
        """Returns whether all required verdicts and blessings exist and all that exist are positive."""
        verdicts = _read_verdicts(input_dict)
        required = (*VERDICT_KEYS, MODEL_BLESSING_KEY, INFRA_BLESSING_KEY)
        refusals = [f"there is no {key}" for key in required if not input_dict.get(key)]
        refusals += [f"{verdict.gate} refused" for verdict in verdicts if not verdict.passed]
        blessing = _single(input_dict, INFRA_VALIDATOR_BLESSING_KEY)
        if blessing and not is_infra_validated(blessing):
            refusals.append("InfraValidator did not bless the model")
        if not super().CheckBlessing(input_dict):
            refusals.append("the model is not blessed")
        if refusals:
            _log.info("not pushed: %s", ", ".join(refusals))
        return not refusals

    def GetModelPath(self, input_dict: ArtifactDict) -> str:  # noqa: N802 (the name is TFX's)
        """Returns the folder of the model, or of its copy with warm-up requests if there is one."""
        blessing = _single(input_dict, INFRA_BLESSING_KEY)
        if blessing and blessing.get_int_custom_property(_HAS_MODEL_PROPERTY):
            return super().GetModelPath({INFRA_BLESSING_KEY: [blessing]})
        return super().GetModelPath(input_dict)

    def Do(  # noqa: N802 (the name is TFX's)
        self, input_dict: ArtifactDict, output_dict: ArtifactDict, exec_properties: dict[str, Any]
    ) -> None:
        """Publishes the model if no gate refuses it; TFX calls this.

        Raises:
            PublishingError: The version cannot be written.
            SigningKeyError: The key cannot be used.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        pushed_model = artifact_utils.get_single_instance(output_dict[PUSHED_MODEL_KEY])
        if not self.CheckBlessing(input_dict):
            self._MarkNotPushed(pushed_model)
            return
        model_path = self.GetModelPath(input_dict)
        # Publishing cannot be undone, so everything else that may fail comes first.
        io_utils.copy_dir(model_path, pushed_model.uri)
        statistics = artifact_utils.get_split_uri(input_dict[STATISTICS_KEY], TRAIN_SPLIT)
        examples = artifact_utils.get_single_instance(input_dict[EXAMPLES_KEY])
        extra = {
            TRAIN_STATISTICS_FILE: Path(statistics, _STATISTICS_FILE),
            f"{EXTRA_FOLDER}/{SCHEMA_FILE}": Path(examples.uri, SCHEMA_FILE),
        }
        origin = self._origin(input_dict, exec_properties)
        serving_directory, key = Path(exec_properties[SERVING_DIRECTORY_KEY]), exec_properties[PRIVATE_KEY_KEY]
        version = publish(Path(model_path), serving_directory, extra, origin, Path(key) if key else None)
        if not key:
            _log.warning("version %d is not signed; set kubeflow.signing_secret", version.number)
        self._MarkPushed(pushed_model, pushed_destination=str(version.directory), pushed_version=str(version.number))

    def _origin(self, input_dict: ArtifactDict, exec_properties: dict[str, Any]) -> Origin:
        model = artifact_utils.get_single_instance(input_dict[MODEL_KEY])
        examples = artifact_utils.get_single_instance(input_dict[EXAMPLES_KEY])
        transform_graph = artifact_utils.get_single_instance(input_dict[TRANSFORM_GRAPH_KEY])
        baseline = artifact_utils.get_single_instance(input_dict[BASELINE_MODEL_KEY])
        baseline_version = baseline.get_string_custom_property(VERSION_PROPERTY)
        data = DataOrigin(
            uri=examples.get_string_custom_property(URI_KEY),
            span=examples.span,
            fingerprint=examples.get_string_custom_property(FINGERPRINT_KEY),
        )
        return Origin(
            pipeline_run=self._context.pipeline_run_id if self._context else None,
            model_uri=model.get_string_custom_property(ORIGINAL_URI_KEY) or model.uri,
            ingredients=Ingredients(
                data=data,
                code=json.loads(exec_properties[CODE_KEY]),
                transform_graph=model_fingerprint(Path(transform_graph.uri)),
            ),
            settings=json.loads(exec_properties[SETTINGS_KEY]),
            software=installed_software(),
            gates=tuple(gate_record(verdict) for verdict in _read_verdicts(input_dict)),
            baseline_version=int(baseline_version) if baseline_version else None,
        )


class AtomicPusher(BaseComponent):
    """Pushes a model that no gate refuses, so that a server sees it complete or not at all.

    TFX's Pusher copies file by file into the serving folder and leaves part of a version if it is killed. It skips the
    second of two pushes within a second. It accepts no verdicts and pushes a model without blessings. The output is the
    same: `pushed_model` has the property `pushed` and, if that is 1, a copy of the model and the properties
    `pushed_destination` and `pushed_version`.

    A version also holds its provenance, its signature, and the schema and the statistics of its train split, in
    `assets.extra`.
    """

    SPEC_CLASS = AtomicPusherSpec
    EXECUTOR_SPEC = ExecutorClassSpec(Executor)
    DRIVER_CLASS = Driver

    def __init__(
        self,
        model: BaseChannel,
        serving_directory: Path,
        private_key: Path,
        code: Mapping[str, str],
        run_settings: Mapping[str, Mapping[str, Any]],
        *,
        model_blessing: BaseChannel,
        infra_blessing: BaseChannel,
        examples: BaseChannel,
        statistics: BaseChannel,
        transform_graph: BaseChannel,
        baseline_model: BaseChannel,
        verdicts: Mapping[str, BaseChannel],
        infra_validator_blessing: BaseChannel | None = None,
    ) -> None:
        """Defines the step.

        Args:
            model: The model to push.
            serving_directory: Folder of the pushed versions, on a local or mounted file system.
            private_key: PEM file of the key that signs the versions.
            code: Fingerprint of the code of each step, by step name, for the provenance.
            run_settings: The settings that shape the model and its gates, by section, for the provenance.
            model_blessing: Blessing of Evaluator.
            infra_blessing: Blessing of ServingCheck. A copy of the model in it is pushed, because it has warm-up
                requests.
            examples: The data of the model; their properties identify it.
            statistics: Statistics of the data; those of train are pushed for DataGate in later runs.
            transform_graph: The Transform graph of the model, for the provenance.
            baseline_model: What the model was compared with, for the provenance.
            verdicts: The verdicts of all gates, by `VERDICT_KEYS`.
            infra_validator_blessing: Blessing of TFX's own InfraValidator, if it is switched on.

        Raises:
            PublishingError: The serving directory is a URL.
        """
        require_file_system(serving_directory)
        super().__init__(
            AtomicPusherSpec(
                model=model,
                serving_directory=str(serving_directory),
                private_key=str(private_key),
                code=json.dumps(dict(code)),
                settings=json.dumps(run_settings),
                baseline="",
                model_blessing=model_blessing,
                infra_blessing=infra_blessing,
                infra_validator_blessing=infra_validator_blessing,
                examples=examples,
                statistics=statistics,
                transform_graph=transform_graph,
                baseline_model=baseline_model,
                pushed_model=Channel(type=PushedModel),
                **verdicts,
            )
        )


def gate_record(verdict: Verdict) -> GateRecord:
    """Returns the decision and the numeric findings of a verdict for the provenance."""
    metrics: dict[str, dict[str, float]] = {}
    intervals: dict[str, dict[str, tuple[float, float]]] = {}
    for finding in verdict.findings:
        if isinstance(finding.value, int | float):
            metric = f"{finding.metric} of {finding.feature}" if finding.feature else finding.metric
            metrics.setdefault(metric, {})[finding.slice] = finding.value
            if finding.interval:
                intervals.setdefault(metric, {})[finding.slice] = finding.interval
    return GateRecord(
        gate=verdict.gate,
        passed=verdict.passed,
        enforced=verdict.enforced,
        accepted=verdict.accepted,
        metrics=metrics,
        intervals=intervals,
    )


def _read_verdicts(input_dict: ArtifactDict) -> list[Verdict]:
    artifacts = (_single(input_dict, key) for key in VERDICT_KEYS)
    return [read_verdict(artifact.uri) for artifact in artifacts if artifact]


def _single(input_dict: ArtifactDict, key: str) -> Artifact | None:
    artifacts = input_dict.get(key)
    return artifact_utils.get_single_instance(artifacts) if artifacts else None
