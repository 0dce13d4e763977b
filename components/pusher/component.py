"""AtomicPusher: TFX's Pusher, but for when it pushes, what it ships with the model, and how."""

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
from tfx.proto import pusher_pb2
from tfx.proto.orchestration.driver_output_pb2 import DriverOutput
from tfx.types import Artifact, BaseChannel, Channel, artifact_utils
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.types.standard_artifacts import Examples, ExampleStatistics, InfraBlessing, Model, ModelBlessing, PushedModel
from tfx.types.standard_component_specs import (
    EXAMPLES_KEY,
    INFRA_BLESSING_KEY,
    MODEL_BLESSING_KEY,
    MODEL_KEY,
    PUSH_DESTINATION_KEY,
    PUSHED_MODEL_KEY,
    STATISTICS_KEY,
)
from tfx.utils import io_utils, path_utils, proto_utils

from components.baseline_driver import BASELINE_KEY, BaselineDriver
from components.example_gen.sources.detection import FINGERPRINT_KEY, URI_KEY
from components.features import TRAIN_SPLIT
from components.original_uri import original_uri
from components.verdict import Finding, Verdict, read_verdict
from components.verdict_artifact import VerdictArtifact
from registry.provenance import (
    DamagedVersionError,
    DataOrigin,
    GateRecord,
    Ingredients,
    Origin,
    model_fingerprint,
    read_provenance,
)
from registry.publishing import publish, require_file_system
from registry.versions import SAVED_MODEL_FILE, TRAIN_STATISTICS_FILE, Version, find_baseline

DATA_VERDICT_KEY = "data_verdict"
EVALUATION_VERDICT_KEY = "evaluation_verdict"
ROBUSTNESS_VERDICT_KEY = "robustness_verdict"
SERVING_VERDICT_KEY = "serving_verdict"
INFRA_VALIDATOR_BLESSING_KEY = "infra_validator_blessing"
CODE_KEY = "code"

VERDICT_KEYS = (DATA_VERDICT_KEY, EVALUATION_VERDICT_KEY, ROBUSTNESS_VERDICT_KEY, SERVING_VERDICT_KEY)
"""The gates in the order of the pipeline."""

_HAS_MODEL_PROPERTY = "has_model"

_STATISTICS_FILE = "FeatureStats.pb"
"""As in tfx/components/statistics_gen/executor.py, which would import TFDV, Beam and TensorFlow for it."""

_log = logging.getLogger(__name__)

InputArtifacts = dict[str, list[Artifact]]


class AtomicPusherSpec(ComponentSpec):
    """Contract of AtomicPusher."""

    PARAMETERS: ClassVar[dict[str, ExecutionParameter]] = {
        PUSH_DESTINATION_KEY: ExecutionParameter(type=pusher_pb2.PushDestination),
        CODE_KEY: ExecutionParameter(type=str),
        BASELINE_KEY: ExecutionParameter(type=str),
    }
    INPUTS: ClassVar[dict[str, ChannelParameter]] = {
        MODEL_KEY: ChannelParameter(type=Model),
        MODEL_BLESSING_KEY: ChannelParameter(type=ModelBlessing),
        INFRA_BLESSING_KEY: ChannelParameter(type=InfraBlessing),
        INFRA_VALIDATOR_BLESSING_KEY: ChannelParameter(type=InfraBlessing, optional=True),
        EXAMPLES_KEY: ChannelParameter(type=Examples),
        STATISTICS_KEY: ChannelParameter(type=ExampleStatistics),
        **{key: ChannelParameter(type=VerdictArtifact) for key in VERDICT_KEYS},
    }
    OUTPUTS: ClassVar[dict[str, ChannelParameter]] = {PUSHED_MODEL_KEY: ChannelParameter(type=PushedModel)}


class Driver(BaselineDriver):
    """Pushes again what the cache alone would leave out.

    - A model that returns after a push of another model. The cache key contains the run that pushed the newest other
      model. A rollback is not a push, so a repeated run does not undo a rollback.
    - A model whose pushed version was deleted. TFX's cache does not check the serving folder, so the driver marks the
      artifact of such a version as deleted.
    """

    def run(self, execution_info: ExecutionInfo) -> DriverOutput:
        """Updates the artifacts of deleted versions and sets the execution property `baseline`; TFX calls this."""
        self._mark_deleted_versions()
        return super().run(execution_info)

    def _mark_deleted_versions(self) -> None:
        with self._metadata_handle as metadata:
            deleted = [
                artifact
                for artifact in metadata.store.get_artifacts_by_type(PushedModel.TYPE_NAME)
                if (version := artifact.custom_properties["pushed_destination"].string_value)
                and not Path(version, SAVED_MODEL_FILE).exists()
            ]
            for artifact in deleted:
                artifact.state = MlmdArtifact.DELETED
            metadata.store.put_artifacts(deleted)

    def baseline_identity(self, execution_info: ExecutionInfo) -> str:
        """Returns the id of the run that pushed the newest other model; a rolled back copy has that of the original."""
        [model] = execution_info.input_dict[MODEL_KEY]
        candidate = model_fingerprint(Path(path_utils.serving_model_path(model.uri)))
        destination = _destination(execution_info.exec_properties[PUSH_DESTINATION_KEY])
        other = find_baseline(Path(destination), candidate)
        return _pushed_by(other) if other else ""


class Executor(tfx_pusher.Executor):
    """Executor of AtomicPusher; what it does not say is as in TFX's."""

    def CheckBlessing(self, input_dict: InputArtifacts) -> bool:  # noqa: N802 (the name is TFX's)
        """Tells whether every blessing blesses the model and every verdict lets it pass; none of them may be missing.

        Args:
            input_dict: The artifacts given to `Do`.
        """
        required = (*VERDICT_KEYS, MODEL_BLESSING_KEY, INFRA_BLESSING_KEY)
        refusals = [f"there is no {key}" for key in required if not input_dict.get(key)]
        refusals += [f"{verdict.gate} refused" for verdict in _read_verdicts(input_dict) if not verdict.passed]
        blessing = _single(input_dict, INFRA_VALIDATOR_BLESSING_KEY)
        if blessing and not is_infra_validated(blessing):
            refusals.append("InfraValidator did not bless the model")
        if not super().CheckBlessing(input_dict):
            refusals.append("the model is not blessed")
        if refusals:
            _log.info("not pushed: %s", ", ".join(refusals))
        return not refusals

    def GetModelPath(self, input_dict: InputArtifacts) -> str:  # noqa: N802 (the name is TFX's)
        """Returns the folder of the model: of the copy that has warm-up requests, if there is one.

        Args:
            input_dict: The artifacts given to `Do`.
        """
        blessing = _single(input_dict, INFRA_BLESSING_KEY)
        if blessing and blessing.get_int_custom_property(_HAS_MODEL_PROPERTY):
            return super().GetModelPath({INFRA_BLESSING_KEY: [blessing]})
        return super().GetModelPath(input_dict)

    def Do(  # noqa: N802 (the name is TFX's)
        self, input_dict: InputArtifacts, output_dict: dict[str, list[Artifact]], exec_properties: dict[str, Any]
    ) -> None:
        """Publishes the model if nothing speaks against it; TFX calls this.

        Args:
            input_dict: The model, its blessings and verdicts, and the data with its statistics.
            output_dict: `pushed_model`, the artifact to fill.
            exec_properties: What the component was given.

        Raises:
            PublishingError: The version cannot be written.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        pushed_model = artifact_utils.get_single_instance(output_dict[PUSHED_MODEL_KEY])
        if not self.CheckBlessing(input_dict):
            self._MarkNotPushed(pushed_model)
            return
        destination = _destination(exec_properties[PUSH_DESTINATION_KEY])
        model_path = self.GetModelPath(input_dict)
        # What may fail comes before what cannot be taken back.
        io_utils.copy_dir(model_path, pushed_model.uri)
        statistics = artifact_utils.get_split_uri(input_dict[STATISTICS_KEY], TRAIN_SPLIT)
        extra = {TRAIN_STATISTICS_FILE: Path(statistics, _STATISTICS_FILE)}
        origin = self._origin(input_dict, exec_properties[CODE_KEY])
        version = publish(Path(model_path), Path(destination), extra, origin)
        self._MarkPushed(pushed_model, pushed_destination=str(version.directory), pushed_version=str(version.number))

    def _origin(self, input_dict: InputArtifacts, code: str) -> Origin:
        model = artifact_utils.get_single_instance(input_dict[MODEL_KEY])
        data = _data_origin(artifact_utils.get_single_instance(input_dict[EXAMPLES_KEY]))
        return Origin(
            pipeline_run=self._context.pipeline_run_id if self._context else None,
            model_uri=original_uri(model),
            ingredients=Ingredients(data=data, code=json.loads(code)),
            gates=tuple(gate_record(verdict) for verdict in _read_verdicts(input_dict)),
        )


class AtomicPusher(BaseComponent):
    """Pushes a model that no gate refuses, so that a server sees it whole or not at all.

    TFX's Pusher copies file by file into the serving folder, which leaves a part of a version there if it is killed;
    its versions are whole seconds, so that of two pushes within a second the latter is left out; it takes no verdicts,
    and pushes what comes without a blessing. The contract is the same otherwise: its output, `pushed_model`, has
    `pushed`, and, if that is 1, a copy of the model, `pushed_destination` and `pushed_version`.

    With the model it ships its provenance and the statistics of its train split, below `assets.extra`.
    """

    SPEC_CLASS = AtomicPusherSpec
    EXECUTOR_SPEC = ExecutorClassSpec(Executor)
    DRIVER_CLASS = Driver

    def __init__(
        self,
        model: BaseChannel,
        push_destination: pusher_pb2.PushDestination,
        code: Mapping[str, str],
        *,
        model_blessing: BaseChannel,
        infra_blessing: BaseChannel,
        examples: BaseChannel,
        statistics: BaseChannel,
        data_verdict: BaseChannel,
        evaluation_verdict: BaseChannel,
        robustness_verdict: BaseChannel,
        serving_verdict: BaseChannel,
        infra_validator_blessing: BaseChannel | None = None,
    ) -> None:
        """Defines the step.

        Args:
            model: The model to push.
            push_destination: Its serving directory, on a local or mounted file system.
            code: Fingerprint of the code of each step that the model was made with, by the name of the step.
            model_blessing: Blessing of Evaluator.
            infra_blessing: Blessing of ServingCheck. If it comes with a copy of the model, this is pushed, for its
                warm-up requests.
            examples: What the model has learnt from; its properties say which data this is.
            statistics: Of the data; those of train are shipped, for the gate of the next run.
            data_verdict: Verdict of DataGate.
            evaluation_verdict: Verdict on the test split.
            robustness_verdict: Verdict on its corrupted copies.
            serving_verdict: Verdict of ServingCheck.
            infra_validator_blessing: Blessing of TFX's own InfraValidator, where it is switched on.

        Raises:
            ValueError: The destination is of a kind that is not supported.
            PublishingError: The serving directory is a URL.
        """
        require_file_system(_destination(proto_utils.proto_to_json(push_destination)))
        super().__init__(
            AtomicPusherSpec(
                **{
                    MODEL_KEY: model,
                    PUSH_DESTINATION_KEY: push_destination,
                    CODE_KEY: json.dumps(dict(code)),
                    # The driver fills it in when the step starts.
                    BASELINE_KEY: "",
                    MODEL_BLESSING_KEY: model_blessing,
                    INFRA_BLESSING_KEY: infra_blessing,
                    INFRA_VALIDATOR_BLESSING_KEY: infra_validator_blessing,
                    EXAMPLES_KEY: examples,
                    STATISTICS_KEY: statistics,
                    DATA_VERDICT_KEY: data_verdict,
                    EVALUATION_VERDICT_KEY: evaluation_verdict,
                    ROBUSTNESS_VERDICT_KEY: robustness_verdict,
                    SERVING_VERDICT_KEY: serving_verdict,
                    PUSHED_MODEL_KEY: Channel(type=PushedModel),
                }
            )
        )


def _data_origin(examples: Artifact) -> DataOrigin:
    return DataOrigin(
        uri=examples.get_string_custom_property(URI_KEY),
        span=examples.span,
        fingerprint=examples.get_string_custom_property(FINGERPRINT_KEY),
    )


def gate_record(verdict: Verdict) -> GateRecord:
    """Returns what a provenance keeps of a verdict: the decision, and the findings that are numbers."""
    metrics: dict[str, dict[str, float]] = {}
    for finding in verdict.findings:
        if isinstance(finding.value, int | float):
            metrics.setdefault(_metric(finding), {})[finding.slice] = finding.value
    return GateRecord(gate=verdict.gate, passed=verdict.passed, metrics=metrics)


def _metric(finding: Finding) -> str:
    return f"{finding.metric} of {finding.feature}" if finding.feature else finding.metric


def _read_verdicts(input_dict: InputArtifacts) -> list[Verdict]:
    given = (_single(input_dict, key) for key in VERDICT_KEYS)
    return [read_verdict(verdict.uri) for verdict in given if verdict]


def _single(input_dict: InputArtifacts, key: str) -> Artifact | None:
    artifacts = input_dict.get(key)
    return artifact_utils.get_single_instance(artifacts) if artifacts else None


def _pushed_by(version: Version) -> str:
    try:
        provenance = read_provenance(version.directory)
    except DamagedVersionError:
        provenance = None
    return provenance.origin.pipeline_run if provenance and provenance.origin.pipeline_run else str(version.number)


def _destination(push_destination: str) -> str:
    parsed = proto_utils.json_to_proto(push_destination, pusher_pb2.PushDestination())
    filesystem = parsed.filesystem
    by_time = (pusher_pb2.Versioning.AUTO, pusher_pb2.Versioning.UNIX_TIMESTAMP)
    if not filesystem.base_directory or filesystem.versioning not in by_time:
        raise ValueError(
            "push_destination: expected a `filesystem` with a `base_directory` and versioning AUTO or UNIX_TIMESTAMP, "
            f"not {push_destination}."
        )
    return filesystem.base_directory
