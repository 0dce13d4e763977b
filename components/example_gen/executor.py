"""The executor of MnistExampleGen: a Beam pipeline from any supported format to shuffled, sharded TFRecords."""

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import apache_beam as beam
import tensorflow as tf
from tfx.components.util import examples_utils
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.proto.example_gen_pb2 import PayloadFormat
from tfx.types import Artifact, artifact_utils

from components.example_counts import count_records, write_counts
from components.example_gen.sources.detection import DataVersion, find_data, open_source
from components.example_gen.sources.source import Record
from components.example_gen.splits import (
    Bounds,
    SplitFractions,
    Stratum,
    assign_split,
    record_order,
    split_bounds,
    split_sizes,
)
from components.features import FINGERPRINT_KEY, IMAGE_KEY, LABEL_KEY, SPAN_KEY, SPLITS, URI_KEY

EXAMPLES_KEY = "examples"
EVAL_FRACTION_KEY = "eval_fraction"
TEST_FRACTION_KEY = "test_fraction"
SAMPLE_FRACTION_KEY = "sample_fraction"
SEED_KEY = "seed"
NUM_SHARDS_KEY = "num_shards"

# Stands for the newest span if the step finds the data when it runs.
_NEWEST_SPAN = -1

_log = logging.getLogger(__name__)

ShardKey = tuple[str, int]
"""Split and number of the shard in the split."""


class Executor(BaseBeamExecutor):
    """Executor of MnistExampleGen."""

    def Do(  # noqa: N802 (the name is TFX's)
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Reads, splits and writes the data to `examples`; TFX calls this.

        Raises:
            DataError: The data is missing, damaged, or not in a supported format.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        examples = artifact_utils.get_single_instance(output_dict[EXAMPLES_KEY])
        data = DataVersion(*(exec_properties[key] for key in (URI_KEY, SPAN_KEY, FINGERPRINT_KEY)))
        if not data.fingerprint:
            # Kubeflow Pipelines has no driver that finds the data before the step.
            data = find_data(data.uri, None if data.span == _NEWEST_SPAN else data.span)
            _log.info("reading %s, span %d, fingerprint %s", data.uri, data.span, data.fingerprint)
        shares = open_source(data.uri).shares()
        fractions = SplitFractions(
            eval=exec_properties[EVAL_FRACTION_KEY],
            test=exec_properties[TEST_FRACTION_KEY],
            sample=exec_properties[SAMPLE_FRACTION_KEY],
        )
        num_shards = exec_properties[NUM_SHARDS_KEY]
        with self._make_beam_pipeline() as pipeline:
            records = (
                pipeline
                | "Shares" >> beam.Create(shares, reshuffle=True)
                | "Read" >> beam.FlatMap(lambda share: share())
            )
            shards, sizes = _split(records, fractions, exec_properties[SEED_KEY], num_shards)
            _ = (
                shards
                | "Write" >> beam.Map(write_shard, examples.uri, num_shards)
                | "Written" >> beam.combiners.ToDict()
                | "Verify" >> beam.Map(verify_counts, beam.pvalue.AsSingleton(sizes))
                | "Record" >> beam.Map(write_counts, examples.uri)
            )
        examples.split_names = artifact_utils.encode_split_names(list(SPLITS))
        examples.span = data.span
        examples.set_string_custom_property(URI_KEY, data.uri)
        examples.set_string_custom_property(FINGERPRINT_KEY, data.fingerprint)
        examples_utils.set_payload_format(examples, PayloadFormat.FORMAT_TF_EXAMPLE)


def _split(
    records: beam.PCollection, fractions: SplitFractions, seed: int, num_shards: int
) -> tuple[beam.PCollection, beam.PCollection]:
    """Returns the shards as ((split, number), [(order, tf.Example), ...]), and the sizes of the splits per stratum."""
    ordered = records | "Order" >> beam.Map(lambda record: (record_order(seed, record.key), record))
    strata = ordered | "Stratum" >> beam.MapTuple(lambda order, record: (record.stratum, order))
    sizes = (
        strata
        | "Count" >> beam.combiners.Count.PerKey()
        | "Counts" >> beam.combiners.ToDict()
        | "Sizes" >> beam.Map(split_sizes, fractions)
    )
    bounds = (
        strata | "Orders" >> beam.GroupByKey() | "Bounds" >> beam.Map(_stratum_bounds, beam.pvalue.AsSingleton(sizes))
    )
    shards = (
        ordered
        | "Assign" >> beam.FlatMap(_assign, beam.pvalue.AsDict(bounds), num_shards)
        | "Shards" >> beam.GroupByKey()
    )
    return shards, sizes


def _stratum_bounds(
    stratum_orders: tuple[Stratum, Iterable[int]], sizes: Mapping[Stratum, Mapping[str, int]]
) -> tuple[Stratum, Bounds]:
    stratum, orders = stratum_orders
    return stratum, split_bounds(orders, sizes[stratum])


def _assign(
    ordered_record: tuple[int, Record], bounds: Mapping[Stratum, Bounds], num_shards: int
) -> Iterator[tuple[ShardKey, tuple[int, bytes]]]:
    order, record = ordered_record
    split = assign_split(order, bounds[record.stratum])
    if split is not None:
        yield (split, order % num_shards), (order, encode_example(record))


def write_shard(
    shard: tuple[ShardKey, Iterable[tuple[int, bytes]]], directory: str, num_shards: int
) -> tuple[str, int]:
    """Writes one shard, of orders and serialized tf.Examples, in that order: shuffled, and reproducible.

    Returns:
        Its path in the directory, and the number of records that can be read from it.

    Raises:
        LostExamplesError: The written file is damaged.
    """
    (split, number), ordered_examples = shard
    path = f"Split-{split}/data_tfrecord-{number:05d}-of-{num_shards:05d}.gz"
    file = os.path.join(directory, path)
    tf.io.gfile.makedirs(os.path.dirname(file))
    with tf.io.TFRecordWriter(file, options="GZIP") as writer:
        for _, example in sorted(ordered_examples):
            writer.write(example)
    return path, count_records(file)


def verify_counts(written: Mapping[str, int], sizes: Mapping[Stratum, Mapping[str, int]]) -> Mapping[str, int]:
    """Compares the records in each shard, by its path, with the sizes of the splits per stratum.

    Returns:
        The records in each shard.

    Raises:
        RuntimeError: A split has more or fewer records than it should, because an engine lost or repeated some.
    """
    for split in SPLITS:
        found = sum(count for path, count in written.items() if path.startswith(f"Split-{split}/"))
        expected = sum(by_split.get(split, 0) for by_split in sizes.values())
        if found != expected:
            raise RuntimeError(f"Split {split!r} has {found} records after writing, expected {expected}.")
    return written


def encode_example(record: Record) -> bytes:
    """Serializes a record as a raw tf.Example: `image` int64[784] and `label` int64[1]."""
    int64_features = {IMAGE_KEY: list(record.image), LABEL_KEY: [record.label]}
    features = {
        key: tf.train.Feature(int64_list=tf.train.Int64List(value=values)) for key, values in int64_features.items()
    }
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return example.SerializeToString(deterministic=True)
