"""The work of CorruptedExampleGen: a Beam pipeline from the files of a split to corrupted copies of each."""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf
from tfx.components.util import examples_utils
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.proto.example_gen_pb2 import PayloadFormat
from tfx.types import Artifact, artifact_utils
from tfx.utils import io_utils

from components.features import TEST_SPLIT
from components.robustness.corruptions import CORRUPTIONS, corrupt
from components.robustness.records import LabelledImages, read_images, write_images

EXAMPLES_KEY = "examples"
CORRUPTED_EXAMPLES_KEY = "corrupted_examples"
SPLIT_KEY = "split"
SEED_KEY = "seed"
SAMPLE_FRACTION_KEY = "sample_fraction"

NumberedImages = tuple[int, LabelledImages]
"""Number of a file of the split, from 0, and what is in it."""

UnitKey = tuple[str, int]
"""Corruption and number of the file."""


class Executor(BaseBeamExecutor):
    """Executor of CorruptedExampleGen."""

    def Do(  # noqa: N802 (the name is TFX's)
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Applies every corruption to every file of the split; TFX calls this.

        Args:
            input_dict: `examples`, raw tf.Examples.
            output_dict: `corrupted_examples`, the artifact to fill.
            exec_properties: What the component was given.

        Raises:
            FileNotFoundError: The split has no files.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        corrupted = artifact_utils.get_single_instance(output_dict[CORRUPTED_EXAMPLES_KEY])
        files = _find_files(artifact_utils.get_split_uri(input_dict[EXAMPLES_KEY], exec_properties[SPLIT_KEY]))
        directory = os.path.join(corrupted.uri, f"Split-{TEST_SPLIT}")
        tf.io.gfile.makedirs(directory)
        sampling = Sampling(exec_properties[SEED_KEY], exec_properties[SAMPLE_FRACTION_KEY])
        with self._make_beam_pipeline() as pipeline:
            images = (
                pipeline
                | "Files" >> beam.Create(list(enumerate(files)), reshuffle=True)
                | "Read" >> beam.MapTuple(_read)
            )
            sizes = images | "Count" >> beam.MapTuple(_count) | "Sizes" >> beam.combiners.ToDict()
            _ = (
                images
                | "Corrupt" >> beam.FlatMap(corrupt_file, directory, len(files), sampling)
                | "Written" >> beam.combiners.ToDict()
                | "Verify" >> beam.Map(verify_counts, beam.pvalue.AsSingleton(sizes), len(files), sampling)
            )
        corrupted.split_names = artifact_utils.encode_split_names([TEST_SPLIT])
        examples_utils.set_payload_format(corrupted, PayloadFormat.FORMAT_TF_EXAMPLE)


@dataclass(frozen=True)
class Sampling:
    """What is drawn.

    Attributes:
        seed: Seed of all corruptions, not negative.
        fraction: Share of the records of each file that is corrupted, above 0 and up to 1.
    """

    seed: int
    fraction: float

    def size(self, num_records: int) -> int:
        """Returns how many records of a file are corrupted: the first ones, since they are in shuffled order."""
        return math.ceil(self.fraction * num_records)

    def generator(self, corruption: str, number: int) -> np.random.Generator:
        """Returns a generator for one corruption of one file, so that it does not matter which is done where and when.

        Args:
            corruption: Name of the corruption.
            number: Number of the file.
        """
        return np.random.default_rng([self.seed, int.from_bytes(corruption.encode(), "big"), number])


def corrupt_file(
    file: NumberedImages, directory: str, num_files: int, sampling: Sampling
) -> Iterator[tuple[UnitKey, int]]:
    """Writes corrupted copies of the records of one file, in their order, one file for each corruption.

    Args:
        file: Number of the file and its images.
        directory: Where to write.
        num_files: Files of the split.
        sampling: How many records to take, and the seed.

    Yields:
        The corruption and the number of the file, and the number of records written.
    """
    number, labelled = file
    sample = labelled.first(sampling.size(len(labelled)))
    for name in CORRUPTIONS:
        images = corrupt(name, sample.images, sampling.generator(name, number))
        path = os.path.join(directory, f"{name}-{number:05d}-of-{num_files:05d}.gz")
        yield (name, number), write_images(path, LabelledImages(images, sample.labels), name)


def verify_counts(written: Mapping[UnitKey, int], sizes: Mapping[int, int], num_files: int, sampling: Sampling) -> None:
    """Compares what was written with what was to be written.

    Args:
        written: Records written for each corruption and file.
        sizes: Records in each file of the split.
        num_files: Files of the split.
        sampling: How many of their records were to be corrupted.

    Raises:
        RuntimeError: There are more or fewer than there should be: an engine lost or repeated some.
    """
    for number in range(num_files):
        if number not in sizes:
            raise RuntimeError(f"File {number} of {num_files} has not been read.")
        for name in CORRUPTIONS:
            found, expected = written.get((name, number), 0), sampling.size(sizes[number])
            if found != expected:
                raise RuntimeError(
                    f"Corruption {name!r} of file {number} has {found} records after writing, expected {expected}."
                )


def _find_files(split_uri: str) -> Sequence[str]:
    files = sorted(tf.io.gfile.glob(io_utils.all_files_pattern(split_uri)))
    if not files:
        raise FileNotFoundError(f"{split_uri}: no files found, expected the TFRecords of a split.")
    return files


def _read(number: int, path: str) -> NumberedImages:
    return number, read_images(path)


def _count(number: int, labelled: LabelledImages) -> tuple[int, int]:
    return number, len(labelled)
