"""The executor of MnistExampleGen: a Beam pipeline from any supported format to shuffled, sharded TFRecords."""

import logging
import os
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, chain
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import tensorflow as tf
from tfx.components.util import examples_utils
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.proto.example_gen_pb2 import PayloadFormat
from tfx.types import Artifact, artifact_utils

from components.example_counts import count_records, write_counts
from components.example_gen.sources.detection import DataVersion, find_data, open_source
from components.example_gen.sources.source import Image, Record, Share, batch_by_shape, check_classes
from components.example_gen.splits import (
    Bounds,
    SplitFractions,
    Stratum,
    assign_split,
    record_order,
    split_bounds,
    split_sizes,
)
from components.example_gen.summaries import summarize, without_alpha
from components.features import FINGERPRINT_KEY, IMAGE_KEY, LABEL_KEY, SCHEMA_FILE, SPAN_KEY, SPLITS, URI_KEY
from components.progress import log_num_records
from components.raw_examples import WRITER_OPTIONS, encode_png, find_contract, serialize_examples

SCHEMA_KEY = "schema"
EXAMPLES_KEY = "examples"
EVAL_FRACTION_KEY = "eval_fraction"
TEST_FRACTION_KEY = "test_fraction"
MAX_IMAGES_KEY = "max_images"
SEED_KEY = "seed"
NUM_SHARDS_KEY = "num_shards"
PREPARATION_KEY = "preparation"

# Stands for the newest span if the step finds the data when it runs.
_NEWEST_SPAN = -1

_log = logging.getLogger(__name__)

# Nearly free: it halves what Beam shuffles, of which its own runner keeps several copies in memory.
_COMPRESSION = "snappy"

ShardKey = tuple[str, int]
"""Split and number of the shard in the split."""

Part = tuple[list[int], list[int], bytes]
"""Some records of a shard: their orders, the sizes of their tf.Examples, and these, compressed."""


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
        schema = artifact_utils.get_single_instance(input_dict[SCHEMA_KEY])
        contract = find_contract(schema)
        source = open_source(data.uri)
        for assumption in source.assumptions:
            _log.warning("assumed: %s", assumption)
        shares = source.shares()
        fractions = SplitFractions(eval=exec_properties[EVAL_FRACTION_KEY], test=exec_properties[TEST_FRACTION_KEY])
        sizes, assignment = _assign(
            shares, fractions, exec_properties[MAX_IMAGES_KEY], exec_properties[SEED_KEY], data.uri
        )
        num_shards = exec_properties[NUM_SHARDS_KEY]
        encode = partial(
            encode_examples,
            with_ink=contract.channels == 1,
            with_ink_in_alpha=exec_properties[PREPARATION_KEY] == "ink",
        )
        with self._make_beam_pipeline() as pipeline:
            _ = (
                pipeline
                | "Shares" >> beam.Create(shares, reshuffle=True)
                | "Read" >> beam.FlatMap(read_share, assignment, num_shards, encode)
                | "Shards" >> beam.GroupByKey()
                | "Write" >> beam.Map(write_shard, examples.uri, num_shards)
                | "Written" >> beam.combiners.ToDict()
                | "Verify" >> beam.Map(verify_counts, sizes)
                | "Record" >> beam.Map(write_counts, examples.uri)
            )
        log_num_records(_log, sum(sum(by_split.values()) for by_split in sizes.values()))
        schema_files = (os.path.join(artifact.uri, SCHEMA_FILE) for artifact in (schema, examples))
        tf.io.gfile.copy(*schema_files, overwrite=True)
        examples.split_names = artifact_utils.encode_split_names(list(SPLITS))
        examples.span = data.span
        examples.set_string_custom_property(URI_KEY, data.uri)
        examples.set_string_custom_property(FINGERPRINT_KEY, data.fingerprint)
        examples_utils.set_payload_format(examples, PayloadFormat.FORMAT_TF_EXAMPLE)


@dataclass(frozen=True)
class Assignment:
    """The split of each record.

    Attributes:
        seed: Seed of the order of the records.
        bounds: Bounds of the splits in each stratum.
    """

    seed: int
    bounds: Mapping[Stratum, Bounds]

    def find(self, record: Record) -> tuple[str, int] | None:
        """Returns the split and the order of a record, or None if it is not in the sample."""
        order = record_order(self.seed, record.key)
        split = assign_split(order, self.bounds[record.stratum])
        return (split, order) if split else None


def _assign(
    shares: Iterable[Share], fractions: SplitFractions, max_images: int, seed: int, where: str
) -> tuple[Mapping[Stratum, Mapping[str, int]], Assignment]:
    """Returns the sizes of the splits per stratum, and the assignment; reads no images."""
    # 8 bytes per record; a list would take 40.
    orders: dict[Stratum, array[int]] = defaultdict(partial(array, "Q"))
    for share in shares:
        for record in share.records():
            orders[record.stratum].append(record_order(seed, record.key))
    check_classes(where, orders)
    sizes = split_sizes({stratum: len(found) for stratum, found in orders.items()}, fractions, max_images)
    return sizes, Assignment(seed, {stratum: split_bounds(found, sizes[stratum]) for stratum, found in orders.items()})


def read_share(
    share: Share,
    assignment: Assignment,
    num_shards: int,
    encode: Callable[[Sequence[Image], Sequence[str]], list[bytes]],
) -> Iterator[tuple[ShardKey, Part]]:
    """Reads the images of a share that are in the sample.

    Args:
        share: The records.
        assignment: Their splits.
        num_shards: Files per split.
        encode: Makes tf.Examples of images and labels.

    Yields:
        Parts of the shards.

    Raises:
        DataError: An image is missing, damaged or not supported.
    """
    records = share.records()
    found = {number: assignment.find(record) for number, record in enumerate(records)}
    places = {number: place for number, place in found.items() if place}
    if not places:
        return
    for batch in batch_by_shape(zip(places, share.images(list(places)), strict=True)):
        images, labels = [image for _, image in batch], [records[number].label for number, _ in batch]
        # Beam takes long for many small elements.
        parts: dict[ShardKey, list[tuple[int, bytes]]] = defaultdict(list)
        for (number, _), example in zip(batch, encode(images, labels), strict=True):
            split, order = places[number]
            parts[split, order % num_shards].append((order, example))
        yield from ((key, pack_part(part)) for key, part in parts.items())


def pack_part(records: Sequence[tuple[int, bytes]]) -> Part:
    """Packs orders and serialized tf.Examples of a shard."""
    orders, examples = zip(*records, strict=True)
    return (
        list(orders),
        [len(example) for example in examples],
        pa.compress(b"".join(examples), _COMPRESSION, asbytes=True),
    )


def _unpack_part(part: Part) -> Iterator[tuple[int, bytes]]:
    orders, sizes, compressed = part
    examples = pa.decompress(compressed, sum(sizes), _COMPRESSION, asbytes=True)
    for order, size, end in zip(orders, sizes, accumulate(sizes), strict=True):
        yield order, examples[end - size : end]


def write_shard(shard: tuple[ShardKey, Iterable[Part]], directory: str, num_shards: int) -> tuple[str, int]:
    """Writes one shard from its parts, sorted by the orders of the records: shuffled, and reproducible.

    Returns:
        Its path in the directory, and the number of records that can be read from it.

    Raises:
        LostExamplesError: The written file is damaged.
    """
    (split, number), parts = shard
    path = f"Split-{split}/data_tfrecord-{number:05d}-of-{num_shards:05d}.gz"
    file = os.path.join(directory, path)
    tf.io.gfile.makedirs(os.path.dirname(file))
    with tf.io.TFRecordWriter(file, WRITER_OPTIONS) as writer:
        for _, example in sorted(chain.from_iterable(map(_unpack_part, parts))):
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


def encode_examples(
    images: Sequence[Image], labels: Sequence[str], *, with_ink: bool, with_ink_in_alpha: bool
) -> list[bytes]:
    """Serializes images of the same shape, and their classes, as raw tf.Examples; docs/data.md lists the features.

    Args:
        images: The images.
        labels: Names of their classes.
        with_ink: Whether the data contract has gray images, whose ink is measured.
        with_ink_in_alpha: See `without_alpha`.
    """
    pixels = without_alpha(np.stack([image.pixels for image in images]), with_ink_in_alpha=with_ink_in_alpha)
    are_new = [image.encoded is None for image in images]
    new = iter(encode_png(pixels[are_new]))
    encoded = [image.encoded if image.encoded is not None else next(new) for image in images]
    return serialize_examples(
        {
            IMAGE_KEY: pa.array(encoded, pa.binary()),
            LABEL_KEY: pa.array([label.encode() for label in labels], pa.binary()),
            "encoded_size": pa.array([len(file) for file in encoded], pa.int64()),
            **summarize(pixels, with_ink=with_ink),
        }
    )
