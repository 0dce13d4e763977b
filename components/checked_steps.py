"""TFX's StatisticsGen and Transform with a check: they fail if they do not read and write every example."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import apache_beam as beam
from tfx.components import StatisticsGen as TfxStatisticsGen
from tfx.components import Transform as TfxTransform
from tfx.components.statistics_gen.executor import Executor as TfxStatisticsGenExecutor
from tfx.components.statistics_gen.stats_artifact_utils import load_statistics
from tfx.components.transform.executor import Executor as TfxTransformExecutor
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec
from tfx.dsl.io import fileio
from tfx.types import Artifact, artifact_utils
from tfx.types.standard_component_specs import EXAMPLES_KEY, STATISTICS_KEY, TRANSFORMED_EXAMPLES_KEY

from components.example_counts import check_count, count_records, damage_named, write_counts

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


class TransformExecutor(TfxTransformExecutor):
    """Executor of Transform."""

    def Do(  # noqa: N802 (the name is TFX's)
        self, input_dict: ArtifactDict, output_dict: ArtifactDict, exec_properties: dict[str, Any]
    ) -> None:
        """Transforms all examples; TFX calls this.

        Raises:
            LostExamplesError: Examples are missing.
        """
        with damage_named(_split_folders(input_dict)):
            super().Do(input_dict, output_dict, exec_properties)
        folder = artifact_utils.get_single_uri(output_dict[TRANSFORMED_EXAMPLES_KEY])
        with self._make_beam_pipeline() as pipeline:
            _ = (
                pipeline
                | "Files" >> beam.Create(fileio.glob(f"{folder}/Split-*/*.gz"), reshuffle=True)
                | "Count" >> beam.Map(lambda file: (file.removeprefix(f"{folder}/"), count_records(file)))
                | "Counts" >> beam.combiners.ToDict()
                | "Verify" >> beam.Map(_verify_counts, _split_folders(input_dict))
                | "Record" >> beam.Map(write_counts, folder)
            )


class StatisticsGen(TfxStatisticsGen):
    """TFX's StatisticsGen, which fails if it does not read every example."""

    EXECUTOR_SPEC = BeamExecutorSpec(StatisticsGenExecutor)


class Transform(TfxTransform):
    """TFX's Transform, which fails if it does not write every example."""

    EXECUTOR_SPEC = BeamExecutorSpec(TransformExecutor)


def _verify_counts(written: Mapping[str, int], input_folders: Sequence[str]) -> Mapping[str, int]:
    for folder in input_folders:
        split = os.path.basename(folder)
        check_count([folder], sum(count for path, count in written.items() if path.startswith(f"{split}/")))
    return written


def _split_folders(inputs: ArtifactDict) -> list[str]:
    examples = artifact_utils.get_single_instance(inputs[EXAMPLES_KEY])
    splits = artifact_utils.decode_split_names(examples.split_names)
    return [artifact_utils.get_split_uri([examples], split) for split in splits]
