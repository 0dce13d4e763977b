"""DataGate: the component that decides whether data may be used for training."""

import hashlib
from pathlib import Path
from typing import ClassVar

from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.orchestration.portable.data_types import ExecutionInfo
from tfx.types import BaseChannel, Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.types.standard_artifacts import ExampleAnomalies, ExampleStatistics, Schema

from components.baseline_driver import BASELINE_KEY, SERVING_DIRECTORY_KEY, BaselineDriver
from components.data_gate.executor import (
    ANOMALIES_KEY,
    LIMITS_KEY,
    SCHEMA_KEY,
    STATISTICS_KEY,
    Executor,
    find_baseline,
)
from components.data_gate.limits import DataLimits
from components.verdict_artifact import VERDICT_KEY, VerdictArtifact


class Driver(BaselineDriver):
    """Keys the cache with the last data that passed."""

    def baseline_identity(self, execution_info: ExecutionInfo) -> str:
        """Returns the hex SHA-256 of the statistics of the baseline."""
        [statistics] = execution_info.input_dict[STATISTICS_KEY]
        found = find_baseline(statistics, execution_info.exec_properties[SERVING_DIRECTORY_KEY])
        return hashlib.sha256(found[1]).hexdigest() if found else ""


class DataGateSpec(ComponentSpec):
    """Contract of DataGate."""

    PARAMETERS: ClassVar[dict[str, ExecutionParameter]] = {
        key: ExecutionParameter(type=str) for key in (LIMITS_KEY, SERVING_DIRECTORY_KEY, BASELINE_KEY)
    }
    INPUTS: ClassVar[dict[str, ChannelParameter]] = {
        STATISTICS_KEY: ChannelParameter(type=ExampleStatistics),
        SCHEMA_KEY: ChannelParameter(type=Schema),
        ANOMALIES_KEY: ChannelParameter(type=ExampleAnomalies),
    }
    OUTPUTS: ClassVar[dict[str, ChannelParameter]] = {VERDICT_KEY: ChannelParameter(type=VerdictArtifact)}


class DataGate(BaseComponent):
    """Decides whether data may be used for training.

    TFX's ExampleValidator records anomalies but stops nothing. Its DistributionValidator takes its baseline from the
    runner's metadata, has one threshold per feature for all splits, does not count classes, and stops nothing either.

    Refuses anomalies, too few examples in a split or of a class, images that are not light ink on a background of 0,
    splits that differ too much from train, and a train split that differs too much from the last data that passed. The
    output `verdict` contains the reasons. The step also succeeds if it refuses, so conditions must check the verdict.
    """

    SPEC_CLASS = DataGateSpec
    EXECUTOR_SPEC = ExecutorClassSpec(Executor)
    DRIVER_CLASS = Driver

    def __init__(
        self,
        statistics: BaseChannel,
        schema: BaseChannel,
        anomalies: BaseChannel,
        limits: DataLimits,
        serving_directory: Path,
    ) -> None:
        """Defines the step.

        Args:
            statistics: Statistics of train, eval and test, computed with the schema.
            schema: Schema of the examples; its comparators limit the distance from other data.
            anomalies: Anomalies by ExampleValidator.
            limits: Limits that need no other data.
            serving_directory: Folder of the pushed versions, which contain the statistics of their data.
        """
        super().__init__(
            DataGateSpec(
                statistics=statistics,
                schema=schema,
                anomalies=anomalies,
                limits=limits.model_dump_json(),
                serving_directory=str(serving_directory),
                baseline="",
                verdict=Channel(type=VerdictArtifact),
            )
        )
