"""CorruptedExampleGen: the step that writes corrupted copies of the test split, to gate on robustness."""

import itertools
import logging
import math
import os
from collections.abc import Iterator, Sequence

import apache_beam as beam
import numpy as np
import pyarrow as pa
import tensorflow as tf
from numpy.typing import NDArray
from tfx.components.util import examples_utils
from tfx.dsl.component.experimental.annotations import BeamComponentParameter, InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.proto.example_gen_pb2 import PayloadFormat
from tfx.types import artifact_utils
from tfx.types.standard_artifacts import Examples

from components.example_counts import count_records, recorded_counts, write_counts
from components.features import CORRUPTION_KEY, IMAGE_KEY, LABEL_KEY, SCHEMA_FILE, TEST_SPLIT, Contract
from components.progress import log_num_records
from components.raw_examples import (
    WRITER_OPTIONS,
    encode_png,
    find_contract,
    find_files,
    read_images,
    serialize_examples,
)
from components.robustness.corruptions import CORRUPTIONS, Images, corrupt

_log = logging.getLogger(__name__)


@component(use_beam=True)
def CorruptedExampleGen(  # noqa: N802 (the name of the step)
    examples: InputArtifact[Examples],
    corrupted_examples: OutputArtifact[Examples],
    seed: Parameter[int],
    sample_fraction: Parameter[float],
    beam_pipeline: BeamComponentParameter[beam.Pipeline] = None,
) -> None:
    """Writes copies of the examples of the test split, corrupted in each of the 15 ways of MNIST-C.

    Transform is the only component of TFX that turns examples into examples, and its work becomes part of the model.

    Args:
        examples: Raw tf.Examples from MnistExampleGen.
        corrupted_examples: One split, `test`: gzipped TFRecords of `image`, a PNG of the size that the network sees,
            `label`, and `corruption`, the name of the corruption; one file for each input file and corruption. They
            depend only on the examples and the seed. The schema of the examples is copied.
        seed: Seed of the corruptions, not negative.
        sample_fraction: Share of the split that each corruption is applied to, above 0 and up to 1.
        beam_pipeline: Set by TFX.

    Raises:
        FileNotFoundError: The split has no files.
        SchemaError: The schema of the examples defines no contract.
    """
    files, contract = find_files(examples, TEST_SPLIT), find_contract(examples)
    directory = os.path.join(corrupted_examples.uri, f"Split-{TEST_SPLIT}")
    tf.io.gfile.makedirs(directory)
    with beam_pipeline as pipeline:
        _ = (
            pipeline
            | "Files" >> beam.Create(list(enumerate(files)), reshuffle=True)
            | "Corrupt" >> beam.FlatMap(corrupt_file, directory, len(files), contract, seed, sample_fraction)
            | "Written" >> beam.combiners.ToList()
            | "Verify" >> beam.Map(verify_written, len(files))
            | "Record" >> beam.Map(write_counts, corrupted_examples.uri)
        )
    log_num_records(_log, sum(recorded_counts(directory).values()))
    tf.io.gfile.copy(os.path.join(examples.uri, SCHEMA_FILE), os.path.join(corrupted_examples.uri, SCHEMA_FILE))
    corrupted_examples.split_names = artifact_utils.encode_split_names([TEST_SPLIT])
    examples_utils.set_payload_format(corrupted_examples, PayloadFormat.FORMAT_TF_EXAMPLE)


def corrupt_file(
    file: tuple[int, str], directory: str, num_files: int, contract: Contract, seed: int, sample_fraction: float
) -> Iterator[tuple[str, int, int]]:
    """Writes corrupted copies of the records of one file, in their order, one file for each corruption.

    Args:
        file: Number of the file, from 0, and its path: gzipped TFRecords of raw tf.Examples.
        directory: Folder to write to.
        num_files: Number of files of the split.
        contract: The contract of the examples.
        seed: Seed of all corruptions, not negative.
        sample_fraction: Share of the records to corrupt, above 0 and up to 1, rounded up.

    Yields:
        The corruption, the number of the file, and the number of records that can be read from the copy.
    """
    number, path = file
    # The first records are a random sample: MnistExampleGen shuffles them.
    images, labels = read_images([path], contract, math.ceil(sample_fraction * count_records(path)))
    for name in CORRUPTIONS:
        # A generator for each corruption and file, so that the result does not depend on the order of the work.
        generator = np.random.default_rng([seed, int.from_bytes(name.encode(), "big"), number])
        copy = os.path.join(directory, _copy_name(name, number, num_files))
        _write_examples(copy, corrupt(name, images, generator), labels, name)
        yield name, number, count_records(copy)


def verify_written(written: Sequence[tuple[str, int, int]], num_files: int) -> dict[str, int]:
    """Checks that every corruption of every file was written exactly once.

    Args:
        written: Corruptions, numbers of files and numbers of records, from `corrupt_file`.
        num_files: Number of files of the split.

    Returns:
        The number of records in each copy, by its path in the artifact.

    Raises:
        RuntimeError: The Beam runner lost or repeated work.
    """
    copies = [(name, number) for name, number, _ in written]
    for name, number in itertools.product(CORRUPTIONS, range(num_files)):
        count = copies.count((name, number))
        if count != 1:
            raise RuntimeError(
                f"Corruption {name!r} of file {number} was written {count} times, expected once: the Beam runner lost "
                "or repeated work."
            )
    folder = f"Split-{TEST_SPLIT}"
    return {f"{folder}/{_copy_name(name, number, num_files)}": num_records for name, number, num_records in written}


def _copy_name(corruption: str, number: int, num_files: int) -> str:
    return f"{corruption}-{number:05d}-of-{num_files:05d}.gz"


def _write_examples(path: str, images: Images, labels: NDArray[np.object_], corruption: str) -> None:
    columns = {
        IMAGE_KEY: pa.array(encode_png(images), pa.binary()),
        LABEL_KEY: pa.array(labels, pa.binary()),
        CORRUPTION_KEY: pa.array([corruption.encode()] * len(labels), pa.binary()),
    }
    with tf.io.TFRecordWriter(path, WRITER_OPTIONS) as writer:
        for example in serialize_examples(columns):
            writer.write(example)
