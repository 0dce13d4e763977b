"""Executor of GatedEvaluator: TFMA measures, then the bounds decide."""

import json
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import apache_beam as beam
from google.protobuf import json_format
from pydantic import ValidationError
from tfx.components.evaluator import constants
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.dsl.io import fileio
from tfx.types import Artifact, artifact_utils
from tfx.types.standard_component_specs import (
    BASELINE_MODEL_KEY,
    BLESSING_KEY,
    EVAL_CONFIG_KEY,
    EVALUATION_KEY,
    EXAMPLE_SPLITS_KEY,
    EXAMPLES_KEY,
    MODEL_KEY,
)
from tfx.utils import io_utils, path_utils

# isort: split
import tensorflow_model_analysis as tfma

from components.baseline_driver import ACCEPTED_PROPERTY

# TFMA loads the metrics by name; this import also adds them to the code fingerprint.
from components.evaluator import metrics
from components.evaluator.bounds import ALL, EXAMPLE_COUNT, Bound, check_bounds, measurements
from components.evaluator.new_data import ADVICE, check_new_data, own_results
from components.evaluator.predictions import batch_extractor, divide
from components.example_counts import check_count, damage_named
from components.progress import log_num_records
from components.raw_examples import find_contract, find_files
from components.verdict import Finding, Verdict
from components.verdict_artifact import VERDICT_KEY, publish_verdict
from registry.provenance import PROVENANCE_FILE, Provenance

GATE_KEY = "gate"
BOUNDS_KEY = "bounds"
ADVICE_KEY = "advice"
ENFORCED_KEY = "enforced"

_log = logging.getLogger(__name__)

ArtifactDict = dict[str, list[Artifact]]


class Executor(BaseBeamExecutor):
    """Executor of GatedEvaluator."""

    def Do(  # noqa: N802 (the name is TFX's)
        self, input_dict: ArtifactDict, output_dict: ArtifactDict, exec_properties: dict[str, Any]
    ) -> None:
        """Evaluates a model and writes verdict and blessing; TFX calls this.

        Raises:
            LostExamplesError: The model was not evaluated on every example.
            SchemaError: The schema of the examples defines no classes.
        """
        examples = artifact_utils.get_single_instance(input_dict[EXAMPLES_KEY])
        classes = find_contract(examples).classes
        baselines = input_dict.get(BASELINE_MODEL_KEY)
        # In a first run, the baseline is an empty artifact.
        if not baselines or not fileio.exists(path_utils.serving_model_path(baselines[0].uri)):
            input_dict = {key: artifacts for key, artifacts in input_dict.items() if key != BASELINE_MODEL_KEY}
        eval_config = tfma.utils.update_eval_config_with_defaults(
            json_format.Parse(exec_properties[EVAL_CONFIG_KEY], tfma.EvalConfig()),
            has_baseline=BASELINE_MODEL_KEY in input_dict,
        )
        models = {
            spec.name: path_utils.serving_model_path(
                artifact_utils.get_single_uri(input_dict[BASELINE_MODEL_KEY if spec.is_baseline else MODEL_KEY])
            )
            for spec in eval_config.model_specs
        }
        splits = json.loads(exec_properties[EXAMPLE_SPLITS_KEY])
        folders = [artifact_utils.get_split_uri([examples], split) for split in splits]
        evaluation = artifact_utils.get_single_uri(output_dict[EVALUATION_KEY])
        with damage_named(folders):
            files = [file for split in splits for file in find_files(examples, split)]
            self._evaluate(files, models, eval_config, classes, evaluation)
        measured = measurements(tfma.load_metrics(evaluation))
        counts = {
            key.slice: int(measurement.value)
            for key, measurement in measured.items()
            if key.metric == EXAMPLE_COUNT and key.kind == "candidate"
        }
        # Without a slice of all images, each image is in exactly one slice.
        num_read = counts.get(ALL, sum(counts.values()))
        check_count(folders, num_read)
        log_num_records(_log, num_read)
        bounds = [Bound.model_validate(bound) for bound in json.loads(exec_properties[BOUNDS_KEY]).values()]
        gate, advice = exec_properties[GATE_KEY], exec_properties[ADVICE_KEY]
        findings, of_data = list(check_bounds(measured, bounds, classes)), list[Finding]()
        for baseline in input_dict.get(BASELINE_MODEL_KEY, ()):
            own = own_results(_read_provenance(path_utils.serving_model_path(baseline.uri)), gate)
            accepted = bool(baseline.get_int_custom_property(ACCEPTED_PROPERTY))
            of_data += check_new_data(measured, bounds, classes, own, accepted=accepted)
        if not all(finding.passed for finding in of_data):
            advice = ADVICE if all(finding.passed for finding in findings) else f"{ADVICE} {advice}"
        enforced = bool(exec_properties[ENFORCED_KEY])
        verdict = Verdict(gate, (*of_data, *findings), advice, enforced=enforced)
        publish_verdict(verdict, artifact_utils.get_single_instance(output_dict[VERDICT_KEY]))
        _bless(artifact_utils.get_single_instance(output_dict[BLESSING_KEY]), input_dict, blessed=verdict.passed)

    def _evaluate(
        self,
        files: Sequence[str],
        models: Mapping[str, str],
        eval_config: tfma.EvalConfig,
        classes: Sequence[str],
        directory: str,
    ) -> None:
        """Evaluates models, by name, with TFMA; a single model has no name. Writes metrics and predictions."""
        configs = [metric for spec in eval_config.metrics_specs for metric in spec.metrics]
        # TFMA's own metrics, and its minimum size of a slice, would take a batch for one image.
        counts_elements = eval_config.options.HasField("min_slice_size")
        is_batched = not counts_elements and all(config.module == metrics.__name__ for config in configs)
        extractors = [
            batch_extractor(eval_config, models, classes, directory),
            *([] if is_batched else [tfma.extractors.UnbatchExtractor()]),
            tfma.extractors.SliceKeyExtractor(eval_config=eval_config, materialize=False),
        ]
        paths = {tfma.METRICS_KEY: os.path.join(directory, tfma.METRICS_KEY)}
        # Beam takes half a second for TFMA's other results, which are empty: plots, attributions and validations.
        writers = [
            tfma.writers.EvalConfigWriter(directory, eval_config, model_locations=models),
            tfma.writers.MetricsPlotsAndValidationsWriter(paths, eval_config, add_metrics_callbacks=[]),
        ]
        with self._make_beam_pipeline() as pipeline:
            _ = (
                pipeline
                | "Files" >> beam.Create(divide(files))
                | "Evaluate"
                >> tfma.ExtractEvaluateAndWriteResults(eval_config=eval_config, extractors=extractors, writers=writers)
            )


def _read_provenance(model_path: str) -> Provenance | None:
    """Reads the provenance in a copy of a version; None if there is none, or a damaged one."""
    file = os.path.join(model_path, PROVENANCE_FILE)
    if not fileio.exists(file):
        return None
    with fileio.open(file, "rb") as content, suppress(ValidationError):
        return Provenance.model_validate_json(content.read())
    return None


def _bless(blessing: Artifact, inputs: ArtifactDict, *, blessed: bool) -> None:
    """Fills a ModelBlessing as TFX's Evaluator does, which without thresholds leaves it empty."""
    model = artifact_utils.get_single_instance(inputs[MODEL_KEY])
    blessing.set_string_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_URI_KEY, model.uri)
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY, model.id)
    for baseline in inputs.get(BASELINE_MODEL_KEY, []):
        blessing.set_string_custom_property(constants.ARTIFACT_PROPERTY_BASELINE_MODEL_URI_KEY, baseline.uri)
        blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BASELINE_MODEL_ID_KEY, baseline.id)
    file_name = constants.BLESSED_FILE_NAME if blessed else constants.NOT_BLESSED_FILE_NAME
    io_utils.write_string_file(os.path.join(blessing.uri, file_name), "")
    value = constants.BLESSED_VALUE if blessed else constants.NOT_BLESSED_VALUE
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY, value)
