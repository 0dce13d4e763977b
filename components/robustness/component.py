"""CorruptedExampleGen: the step that writes corrupted copies of the test split, to gate on robustness."""

import itertools
import math
import os
from collections.abc import Iterator, Sequence

import apache_beam as beam
import numpy as np
import pyarrow as pa
import tensorflow as tf
from tfx.components.util import examples_utils
from tfx.dsl.component.experimental.annotations import BeamComponentParameter, InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.proto.example_gen_pb2 import PayloadFormat
from tfx.types import artifact_utils
from tfx.types.standard_artifacts import Examples
from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

from components.example_counts import count_records, write_counts
from components.features import IMAGE_KEY, IMAGE_SIZE, LABEL_KEY, TEST_SPLIT
from components.raw_examples import find_files, read_images
from components.robustness.corruptions import CORRUPTION_KEY, CORRUPTIONS, Images, corrupt

# Corrupted copies are read once or twice: this takes a third of the time of the default, and 15 % more space.
_COMPRESSION_LEVEL = 1


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
        corrupted_examples: One split, `test`: gzipped TFRecords of `image` int64[784], `label` int64[1] and
            `corruption`, the name of the corruption; one file for each input file and corruption. They depend only on
            the examples and the seed.
        seed: Seed of the corruptions, not negative.
        sample_fraction: Share of the split that each corruption is applied to, above 0 and up to 1.
        beam_pipeline: Set by TFX.

    Raises:
        FileNotFoundError: The split has no files.
    """
    files = find_files(examples, TEST_SPLIT)
    directory = os.path.join(corrupted_examples.uri, f"Split-{TEST_SPLIT}")
    tf.io.gfile.makedirs(directory)
    with beam_pipeline as pipeline:
        _ = (
            pipeline
            | "Files" >> beam.Create(list(enumerate(files)), reshuffle=True)
            | "Corrupt" >> beam.FlatMap(corrupt_file, directory, len(files), seed, sample_fraction)
            | "Written" >> beam.combiners.ToList()
            | "Verify" >> beam.Map(verify_written, len(files))
            | "Record" >> beam.Map(write_counts, corrupted_examples.uri)
        )
    corrupted_examples.split_names = artifact_utils.encode_split_names([TEST_SPLIT])
    examples_utils.set_payload_format(corrupted_examples, PayloadFormat.FORMAT_TF_EXAMPLE)


def corrupt_file(
    file: tuple[int, str], directory: str, num_files: int, seed: int, sample_fraction: float
) -> Iterator[tuple[str, int, int]]:
    """Writes corrupted copies of the records of one file, in their order, one file for each corruption.

    Args:
        file: Number of the file, from 0, and its path: gzipped TFRecords of raw tf.Examples.
        directory: Folder to write to.
        num_files: Number of files of the split.
        seed: Seed of all corruptions, not negative.
        sample_fraction: Share of the records to corrupt, above 0 and up to 1, rounded up.

    Yields:
        The corruption, the number of the file, and the number of records that can be read from the copy.
    """
    number, path = file
    images, labels = read_images([path])
    # The first records are a random sample: MnistExampleGen shuffles them.
    sample = slice(math.ceil(sample_fraction * len(images)))
    for name in CORRUPTIONS:
        # A generator for each corruption and file, so that the result does not depend on the order of the work.
        generator = np.random.default_rng([seed, int.from_bytes(name.encode(), "big"), number])
        copy = os.path.join(directory, _copy_name(name, number, num_files))
        write_examples(copy, corrupt(name, images[sample], generator), labels[sample], name)
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


def write_examples(path: str, images: Images, labels: np.ndarray, corruption: str) -> None:
    """Writes gzipped TFRecords of tf.Examples: `image` int64[784], `label` int64[1] and `corruption` bytes[1].

    Args:
        path: File to write, in an existing folder.
        images: uint8[n,28,28].
        labels: int64[n].
        corruption: Name of the corruption.
    """
    columns = {
        IMAGE_KEY: (pa.array(images.astype(np.int64).ravel()), IMAGE_SIZE),
        LABEL_KEY: (pa.array(labels), 1),
        CORRUPTION_KEY: (pa.array([corruption.encode()] * len(labels), pa.binary()), 1),
    }
    lists = [
        pa.ListArray.from_arrays(np.arange(len(labels) + 1, dtype=np.int32) * size, values)
        for values, size in columns.values()
    ]
    examples = RecordBatchToExamplesEncoder().encode(pa.RecordBatch.from_arrays(lists, list(columns)))
    options = tf.io.TFRecordOptions(compression_type="GZIP", compression_level=_COMPRESSION_LEVEL)
    with tf.io.TFRecordWriter(path, options) as writer:
        for example in examples:
            writer.write(example)
