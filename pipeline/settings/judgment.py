"""Judges the content of a data set before a run, by the rules of DataGate where they apply."""

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from components.data_gate.shares import share_findings
from components.example_gen.sources.source import EVAL, TEST, Source, batch_by_shape
from components.example_gen.summaries import MIN_INK
from components.features import (
    BACKGROUND_SHARE_KEY,
    EVAL_SPLIT,
    IMAGE_KEY,
    LABEL_KEY,
    SATURATED_SHARE_KEY,
    TEST_SPLIT,
    TRAIN_SPLIT,
    Contract,
)
from components.verdict import Finding
from pipeline.settings.settings import Settings
from pipeline.settings.survey import Survey
from registry.provenance import read_provenance
from registry.signatures import EXAMPLES, EXAMPLES_INPUT, LABEL_OUTPUT
from registry.versions import newest_usable

# A survey does not encode images.
_NOT_SURVEYED = (IMAGE_KEY, "encoded_size")

_MAX_JUDGED = 1_000
"""Number of images that the model in production sees: enough to tell turned images and swapped labels from chance."""


def fits(survey: Survey, contract: Contract) -> bool:
    """Returns whether data has only classes of a contract, and images of its size."""
    has_size = (survey.sizes == (contract.height, contract.width)).all()
    return bool(has_size) and set(survey.classes) <= set(contract.classes)


def judge_images(survey: Survey, settings: Settings, contract: Contract) -> list[Finding]:
    """Checks what needs no statistics: the range of the pixels; and polarity and color, if the data fits the contract.

    Args:
        survey: What the data contains.
        settings: The settings of the model.
        contract: Its data contract.
    """
    reason = "the images are blank" if not survey.brightest else "the pixels have another range, such as 0 to 1"
    is_bright = survey.brightest >= MIN_INK
    findings = [
        Finding("brightest pixel", "all", is_bright, "" if is_bright else reason, survey.brightest, lower_bound=MIN_INK)
    ]
    if is_bright and fits(survey, contract):
        if contract.channels == 1:
            num_color = int((survey.summaries["channels"] > 1).sum())
            reason = "the schema has gray images: color would be turned to gray" if num_color else ""
            findings.append(Finding("images in color", "all", not num_color, reason, num_color, upper_bound=0))
        for split, is_in in _splits(survey).items():
            background, saturated = (
                float(survey.summaries[key][is_in].mean()) for key in (BACKGROUND_SHARE_KEY, SATURATED_SHARE_KEY)
            )
            findings += share_findings(split, background, saturated, settings.data_gate)
    return findings


def judge_data(survey: Survey, settings: Settings, contract: Contract) -> list[Finding]:
    """Applies all rules of DataGate, which also compare with the data of the model in production.

    Unlike in a run, train contains the images that eval or test would take from it.

    Args:
        survey: What the data contains.
        settings: The settings of the model.
        contract: Its data contract.

    Raises:
        SchemaError: The schema of a pushed version defines no contract.
    """
    # TFX comes first: it installs what the older TFDV of the Python 3.11 set needs.
    from components.data_gate.component import last_passed

    # isort: split
    import pandas as pd
    import tensorflow_data_validation as tfdv
    from tensorflow_metadata.proto.v0.schema_pb2 import INT

    from components.data_gate.rules import check_data
    from components.schema import parse_schema

    schema = parse_schema(settings.data.schema_file.read_text(encoding="utf-8"), str(settings.data.schema_file))
    described = [feature for feature in schema.feature if feature.name not in _NOT_SURVEYED]
    del schema.feature[:]
    schema.feature.extend(described)
    columns = {
        feature.name: survey.summaries[feature.name].astype(np.int64 if feature.type == INT else np.float32)
        for feature in described
        if feature.name in survey.summaries
    }
    columns[LABEL_KEY] = np.array([label for _, label in survey.strata], object)
    options = tfdv.StatsOptions(schema=schema, num_rank_histogram_buckets=len(set(survey.classes + contract.classes)))
    statistics = {
        split: tfdv.generate_statistics_from_dataframe(
            pd.DataFrame({key: values[is_in] for key, values in columns.items()}), options, n_jobs=1
        )
        for split, is_in in _splits(survey).items()
    }
    anomalies = {split: tfdv.validate_statistics(of_split, schema) for split, of_split in statistics.items()}
    train = statistics[TRAIN_SPLIT].SerializeToString()
    baseline = last_passed(train, contract, str(settings.serving_directory))
    return check_data(statistics, anomalies, schema, contract.classes, settings.data_gate, baseline)


def judge_with_model(source: Source, survey: Survey, settings: Settings, contract: Contract) -> list[Finding]:
    """Compares what the model in production recognizes of a sample of the data with what it recognized of its own.

    Args:
        source: The data.
        survey: What the data contains.
        settings: The settings of the model.
        contract: Its data contract.

    Returns:
        A finding; none if there is no usable version of this contract, or the data does not fit it.

    Raises:
        DataError: The data is damaged.
    """
    import tensorflow as tf

    from components.baseline_driver import baseline_contract
    from components.evaluator.bounds import ACCURACY, ALL_NAME, Measurement
    from components.evaluator.new_data import judge_new_data, own_results
    from components.example_gen.executor import encode_examples
    from components.intervals import share_interval

    version = newest_usable(settings.serving_directory, settings.trust_policy)
    if version is None or baseline_contract(version.directory) != contract or not fits(survey, contract):
        return []
    own = own_results(read_provenance(version.directory), "Evaluator").get((ACCURACY, ALL_NAME))
    predict = tf.saved_model.load(str(version.directory)).signatures[EXAMPLES]
    origins = [origin for origin, _ in survey.strata]
    origin = TEST if TEST in origins else origins[0]
    step = math.ceil(origins.count(origin) / _MAX_JUDGED)
    with_ink_in_alpha = settings.trainer.preparation == "ink"
    num_images = num_right = 0
    for share in source.shares():
        labels = {number: record.label for number, record in enumerate(share.records()) if record.origin == origin}
        numbers = list(labels)[::step]
        for batch in batch_by_shape(zip(numbers, share.images(numbers), strict=True)):
            expected = [labels[number] for number, _ in batch]
            examples = encode_examples(
                [image for _, image in batch], expected, with_ink=False, with_ink_in_alpha=with_ink_in_alpha
            )
            found = predict(**{EXAMPLES_INPUT: tf.constant(examples)})[LABEL_OUTPUT].numpy()
            num_right += int((found == np.array([label.encode() for label in expected], object)).sum())
            num_images += len(batch)
    accuracy = Measurement(num_right / num_images, share_interval(num_right, num_images))
    finding = judge_new_data(ACCURACY, ALL_NAME, accuracy, own, settings.evaluation.max_new_data_drop)
    return [replace(finding, setting="evaluation.max_new_data_drop")]


def _splits(survey: Survey) -> Mapping[str, NDArray[np.bool_]]:
    """Returns which images are in each split, bool[n]."""
    splits = {EVAL: EVAL_SPLIT, TEST: TEST_SPLIT}
    of_image = np.array([splits.get(origin, TRAIN_SPLIT) for origin, _ in survey.strata])
    return {split: of_image == split for split in dict.fromkeys(of_image.tolist())}
