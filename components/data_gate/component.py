"""DataGate: the component that lets data pass to the steps that learn from it, or does not."""

from pathlib import Path
from typing import ClassVar

from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.types import BaseChannel, Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.types.standard_artifacts import ExampleAnomalies, ExampleStatistics, Schema

from components.baseline_driver import BASELINE_KEY, SERVING_DIRECTORY_KEY
from components.data_gate.driver import Driver
from components.data_gate.executor import (
    ANOMALIES_KEY,
    LIMITS_KEY,
    SCHEMA_KEY,
    STATISTICS_KEY,
    Executor,
)
from components.data_gate.limits import DataLimits
from components.verdict_artifact import VERDICT_KEY, VerdictArtifact


class DataGateSpec(ComponentSpec):
    """Contract of DataGate."""

    PARAMETERS: ClassVar[dict[str, ExecutionParameter]] = {
        LIMITS_KEY: ExecutionParameter(type=str),
        SERVING_DIRECTORY_KEY: ExecutionParameter(type=str),
        BASELINE_KEY: ExecutionParameter(type=str),
    }
    INPUTS: ClassVar[dict[str, ChannelParameter]] = {
        STATISTICS_KEY: ChannelParameter(type=ExampleStatistics),
        SCHEMA_KEY: ChannelParameter(type=Schema),
        ANOMALIES_KEY: ChannelParameter(type=ExampleAnomalies),
    }
    OUTPUTS: ClassVar[dict[str, ChannelParameter]] = {VERDICT_KEY: ChannelParameter(type=VerdictArtifact)}


class DataGate(BaseComponent):
    """Decides whether the data may be learnt from.

    TFX's ExampleValidator records anomalies and stops nothing; its DistributionValidator takes its baseline from the
    metadata of the runner, knows one threshold per feature for all splits and neither counts classes nor stops anything
    either.

    Refuses what ExampleValidator found, too few examples in a split or of a class, images that are not light ink on a
    background of 0, splits that are too far from train, and train where it is too far from the last data that passed.
    Its output, `verdict`, says which and why. It succeeds when it refuses: what comes next has to ask the verdict.
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
            schema: The contract of the examples; its comparators say how far data may be from other data.
            anomalies: What ExampleValidator found in the statistics.
            limits: The bounds that need nothing to compare with.
            serving_directory: Folder of the pushed versions, which ship the statistics of what they learnt from.
        """
        super().__init__(
            DataGateSpec(
                **{
                    STATISTICS_KEY: statistics,
                    SCHEMA_KEY: schema,
                    ANOMALIES_KEY: anomalies,
                    LIMITS_KEY: limits.model_dump_json(),
                    SERVING_DIRECTORY_KEY: str(serving_directory),
                    # The driver fills it in when the step starts.
                    BASELINE_KEY: "",
                    VERDICT_KEY: Channel(type=VerdictArtifact),
                }
            )
        )
