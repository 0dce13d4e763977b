"""TFX's StatisticsGen and Transform with checks: they name damaged files, and StatisticsGen misses no example."""

import logging
from typing import Any

from tfx.components import StatisticsGen as TfxStatisticsGen
from tfx.components import Transform as TfxTransform
from tfx.components.statistics_gen.executor import Executor as TfxStatisticsGenExecutor
from tfx.components.statistics_gen.stats_artifact_utils import load_statistics
from tfx.components.transform.executor import Executor as TfxTransformExecutor
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec
from tfx.types import Artifact, artifact_utils
from tfx.types.standard_component_specs import EXAMPLES_KEY, STATISTICS_KEY

from components.example_counts import check_count, damage_named, recorded_counts
from components.features import TRAIN_SPLIT
from components.progress import log_num_records

_log = logging.getLogger(__name__)

ArtifactDict = dict[str, list[Artifact]]


class StatisticsGenExecutor(TfxStatisticsGenExecutor):
    """Executor of StatisticsGen."""

    def Do(  # noqa: N802 (the name is TFX's)
        self, input_dict: ArtifactDict, output_dict: ArtifactDict, exec_properties: dict[str, Any]
    ) -> None:
        """Computes statistics of all examples; TFX calls this.

        Raises:
            LostExamplesError: Examples are missing.
        """
        with damage_named(_split_folders(input_dict)):
            super().Do(input_dict, output_dict, exec_properties)
        statistics = artifact_utils.get_single_instance(output_dict[STATISTICS_KEY])
        for split in artifact_utils.decode_split_names(statistics.split_names):
            num_read = load_statistics(statistics, split).proto().datasets[0].num_examples
            check_count([artifact_utils.get_split_uri(input_dict[EXAMPLES_KEY], split)], num_read)
            log_num_records(_log, num_read)


class TransformExecutor(TfxTransformExecutor):
    """Executor of Transform."""

    def Do(  # noqa: N802 (the name is TFX's)
        self, input_dict: ArtifactDict, output_dict: ArtifactDict, exec_properties: dict[str, Any]
    ) -> None:
        """Analyzes the examples of train; TFX calls this.

        Trainer reads the same examples and checks their number.

        Raises:
            LostExamplesError: A file is damaged.
        """
        with damage_named(_split_folders(input_dict)):
            super().Do(input_dict, output_dict, exec_properties)
        counts = recorded_counts(artifact_utils.get_split_uri(input_dict[EXAMPLES_KEY], TRAIN_SPLIT))
        log_num_records(_log, sum(counts.values()))


class StatisticsGen(TfxStatisticsGen):
    """TFX's StatisticsGen, which fails if it does not read every example."""

    EXECUTOR_SPEC = BeamExecutorSpec(StatisticsGenExecutor)


class Transform(TfxTransform):
    """TFX's Transform, which names a damaged file of examples."""

    EXECUTOR_SPEC = BeamExecutorSpec(TransformExecutor)


def _split_folders(inputs: ArtifactDict) -> list[str]:
    examples = artifact_utils.get_single_instance(inputs[EXAMPLES_KEY])
    splits = artifact_utils.decode_split_names(examples.split_names)
    return [artifact_utils.get_split_uri([examples], split) for split in splits]
