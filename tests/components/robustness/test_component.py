import io
import logging
from dataclasses import replace
from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tfx.types import Channel
from tfx.types.standard_artifacts import Examples

from components.example_counts import LostExamplesError, check_count
from components.raw_examples import find_contract, read_images
from components.robustness.component import CorruptedExampleGen, verify_written
from components.robustness.corruptions import CORRUPTIONS, Images
from tests.support.examples import DIGITS, SHAPES, make_examples, png, serialize, write_records

SHARD_SIZES = [7, 4]

BEAM_ARGS = ["--runner=FnApiRunner"]

Copy = tuple[str, bytes, int]
"""Corruption, pixels and label."""

CONTRACT = replace(DIGITS, classes=tuple(f"class {number}" for number in range(11)))


@pytest.fixture
def clean(tmp_path: Path, digits: Images) -> Examples:
    """Examples with a split test of two files."""
    records = [record(image, number) for number, image in enumerate(digits[: sum(SHARD_SIZES)])]
    return make_examples(tmp_path / "clean", CONTRACT, {"test": [records[: SHARD_SIZES[0]], records[SHARD_SIZES[0] :]]})


def record(image: np.ndarray, label: int) -> bytes:
    return serialize(image=png(image), label=f"class {label}".encode(), brightness_mean=b"not copied")


def shard(clean: Examples, number: int) -> Path:
    return Path(clean.uri, "Split-test", f"data_tfrecord-{number:05d}-of-00002.gz")


def artifact(path: Path, split_names: str = "") -> Examples:
    examples = Examples()
    examples.uri = str(path)
    examples.split_names = split_names
    return examples


def run(clean: Examples, output: Path, **changes: object) -> Examples:
    corrupted = artifact(output)
    parameters = {"seed": 0, "sample_fraction": 1.0, **changes}
    CorruptedExampleGen.test_call(
        examples=clean, corrupted_examples=corrupted, beam_pipeline=beam.Pipeline(argv=BEAM_ARGS), **parameters
    )
    return corrupted


def copies(output: Path) -> list[Copy]:
    files = sorted(str(path) for path in (output / "Split-test").iterdir())
    return [parsed(record) for record in tf.data.TFRecordDataset(files, "GZIP").as_numpy_iterator()]


def parsed(serialized: bytes) -> Copy:
    features = tf.train.Example.FromString(serialized).features.feature
    assert set(features) == {"image", "label", "corruption"}
    (image,), (label,), (corruption,) = (features[key].bytes_list.value for key in ("image", "label", "corruption"))
    return corruption.decode(), np.asarray(Image.open(io.BytesIO(image))).tobytes(), int(label.removeprefix(b"class "))


def test_contract() -> None:
    step = CorruptedExampleGen(examples=Channel(type=Examples), seed=11, sample_fraction=0.5)
    assert {key: channel.type for key, channel in step.inputs.items()} == {"examples": Examples}
    assert {key: channel.type for key, channel in step.outputs.items()} == {"corrupted_examples": Examples}
    assert step.exec_properties == {"seed": 11, "sample_fraction": 0.5}


def test_every_image_is_corrupted_once_in_every_way(
    clean: Examples, tmp_path: Path, digits: Images, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="components.robustness")
    corrupted = run(clean, tmp_path / "out")
    assert "processed 165 records" in caplog.text

    names = {path.name for path in (tmp_path / "out" / "Split-test").iterdir()}
    assert names == {f"{name}-0000{number}-of-00002.gz" for name in CORRUPTIONS for number in (0, 1)}
    found = copies(tmp_path / "out")
    assert sorted((name, label) for name, _, label in found) == sorted(
        (name, label) for name in CORRUPTIONS for label in range(11)
    )
    assert all(image != digits[label].tobytes() for _, image, label in found)
    striped = digits[10].copy()
    striped[:, [*range(7), *range(21, 28)]] ^= 255
    assert ("stripe", striped.tobytes(), 10) in found
    assert corrupted.split_names == '["test"]'
    assert find_contract(corrupted) == CONTRACT
    assert corrupted.get_string_custom_property("payload_format") == "FORMAT_TF_EXAMPLE"


def test_the_seed_determines_the_examples(clean: Examples, tmp_path: Path) -> None:
    for name, seed in (("first", 0), ("second", 0), ("other", 1)):
        run(clean, tmp_path / name, seed=seed)
    first, second, other = (copies(tmp_path / name) for name in ("first", "second", "other"))
    assert first == second
    deterministic = {"scale", "brightness", "stripe", "canny_edges"}
    assert {name for name, *_ in set(first) - set(other)} == set(CORRUPTIONS) - deterministic


def test_every_file_is_corrupted_differently(clean: Examples, tmp_path: Path, digits: Images) -> None:
    for number in (0, 1):
        write_records(shard(clean, number), [record(digits[0], number)])
    run(clean, tmp_path / "out")
    images: dict[str, set[bytes]] = {}
    for name, image, _ in copies(tmp_path / "out"):
        images.setdefault(name, set()).add(image)
    assert len(images["fog"]) == len(images["shot_noise"]) == 2
    assert len(images["stripe"]) == 1


def test_images_of_other_sizes_are_corrupted_as_the_network_sees_them(tmp_path: Path) -> None:
    large = np.zeros((64, 64, 3), np.uint8)
    records = [serialize(image=png(large), label=b"circle")]
    run(make_examples(tmp_path / "clean", SHAPES, {"test": [records]}), tmp_path / "out")
    files = [str(path) for path in (tmp_path / "out" / "Split-test").iterdir()]
    images, labels = read_images(files, SHAPES)
    assert images.shape == (len(CORRUPTIONS), *SHAPES.image_shape)
    assert set(labels) == {b"circle"}


def test_a_sample_is_the_first_records_of_each_file_rounded_up(clean: Examples, tmp_path: Path) -> None:
    run(clean, tmp_path / "out", sample_fraction=0.3)
    labels = [label for _, _, label in copies(tmp_path / "out")]
    assert sorted(labels) == sorted([0, 1, 2, 7, 8] * len(CORRUPTIONS))


def test_a_file_may_be_empty(clean: Examples, tmp_path: Path) -> None:
    write_records(shard(clean, 1), [])
    run(clean, tmp_path / "out")
    assert len(copies(tmp_path / "out")) == 7 * len(CORRUPTIONS)
    check_count([str(tmp_path / "out" / "Split-test")], 7 * len(CORRUPTIONS))
    with pytest.raises(LostExamplesError, match="1 examples were read, but 105 were written"):
        check_count([str(tmp_path / "out" / "Split-test")], 1)


def test_a_truncated_file_is_named(clean: Examples, tmp_path: Path) -> None:
    file = shard(clean, 1)
    content = file.read_bytes()
    file.write_bytes(content[:50] + b"damage" + content[56:])
    with pytest.raises(LostExamplesError, match=r"data_tfrecord-00001-of-00002\.gz: missing or damaged"):
        run(clean, tmp_path / "out")


def test_lost_and_repeated_work_is_an_error() -> None:
    written = [(name, number, 7) for number in (0, 1) for name in CORRUPTIONS]
    counts = verify_written(written, 2)
    assert (len(counts), counts["Split-test/fog-00001-of-00002.gz"]) == (2 * len(CORRUPTIONS), 7)
    with pytest.raises(RuntimeError, match="'fog' of file 1 was written 2 times, expected once"):
        verify_written([*written, ("fog", 1, 7)], 2)
    with pytest.raises(RuntimeError, match="'shot_noise' of file 0 was written 0 times, expected once"):
        verify_written(written[1:], 2)
    with pytest.raises(RuntimeError, match="'shot_noise' of file 2 was written 0 times, expected once"):
        verify_written(written, 3)
