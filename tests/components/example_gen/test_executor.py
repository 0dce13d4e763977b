import logging
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image as PillowImage
from tfx.types.standard_artifacts import Examples, Schema

from components.example_counts import LostExamplesError, check_count
from components.example_gen.executor import Executor, pack_part, verify_counts, write_shard
from components.example_gen.sources import source
from components.example_gen.sources.detection import find_data
from components.example_gen.sources.errors import DataError
from components.features import SPLITS, Contract
from components.raw_examples import find_contract
from tests.support.examples import DIGITS, SHAPES, schema_text
from tests.support.image_data import encode_image

IMAGES_PER_LABEL = {"train": 24, "test": 5}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    random = np.random.default_rng(3)
    arrays: dict[str, Any] = {}
    for origin, count in IMAGES_PER_LABEL.items():
        arrays[f"x_{origin}"] = random.integers(0, 256, (count * 10, 28, 28), dtype=np.uint8)
        arrays[f"y_{origin}"] = np.tile(np.arange(10, dtype=np.uint8), count)
    path = tmp_path / "data.npz"
    np.savez_compressed(path, **arrays)
    return path


def run(data: Path, output: Path, contract: Contract = DIGITS, **changes: object) -> Examples:
    examples, schema = Examples(), Schema()
    examples.uri, schema.uri = str(output), str(output.parent / f"{output.name} schema")
    Path(schema.uri).mkdir()
    Path(schema.uri, "schema.pbtxt").write_text(schema_text(contract))
    exec_properties = {
        "uri": str(data),
        "span": 3,
        "fingerprint": "f",
        "eval_fraction": 0.25,
        "test_fraction": 0.2,
        "max_images": 0,
        "seed": 0,
        "num_shards": 3,
        "preparation": "resize",
        **changes,
    }
    context = Executor.Context(beam_pipeline_args=["--runner=FnApiRunner"], tmp_dir=str(output.parent))
    Executor(context).Do({"schema": [schema]}, {"examples": [examples]}, exec_properties)
    return examples


def records(output: Path, split: str) -> list[bytes]:
    files = sorted(str(path) for path in (output / f"Split-{split}").iterdir())
    return list(tf.data.TFRecordDataset(files, compression_type="GZIP").as_numpy_iterator())


def features(serialized: bytes) -> dict[str, Any]:
    """Returns the value of each feature that an example has."""
    found = tf.train.Example.FromString(serialized).features.feature
    kinds = {key: feature.WhichOneof("kind") for key, feature in found.items()}
    return {key: getattr(found[key], kind).value[0] for key, kind in kinds.items() if kind}


def parsed(serialized: bytes) -> tuple[bytes, str]:
    """Returns the pixels and the label."""
    found = features(serialized)
    return tf.io.decode_image(found["image"]).numpy().tobytes(), found["label"].decode()


def test_finds_the_data_when_the_step_runs_without_a_driver(data: Path, tmp_path: Path) -> None:
    for span in (2, 11):
        (tmp_path / f"day-{span}").mkdir()
        shutil.copy(data, tmp_path / f"day-{span}" / "data.npz")
    pattern = tmp_path / "day-{SPAN}" / "data.npz"
    newest = run(pattern, tmp_path / "newest", fingerprint="", span=-1)
    older = run(pattern, tmp_path / "older", fingerprint="", span=2)
    for examples, span in ((newest, 11), (older, 2)):
        expected = find_data(str(pattern), span)
        assert examples.span == expected.span == span
        assert examples.get_string_custom_property("uri") == expected.uri == str(tmp_path / f"day-{span}" / "data.npz")
        assert examples.get_string_custom_property("fingerprint") == expected.fingerprint
    assert records(tmp_path / "newest", "train") == records(tmp_path / "older", "train")


def test_refuses_missing_data(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.npz: found nothing at this path"):
        run(tmp_path / "absent.npz", tmp_path / "out", fingerprint="", span=-1)


def test_writes_every_image_once_in_stratified_splits(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="components.example_gen")
    examples = run(data, tmp_path / "out")

    found = {split: [parsed(record) for record in records(tmp_path / "out", split)] for split in SPLITS}
    assert f"processed {sum(map(len, found.values()))} records" in caplog.text
    labels = {split: Counter(label for _, label in found[split]) for split in SPLITS}
    assert labels == {
        split: dict.fromkeys(DIGITS.classes, count) for split, count in (("train", 18), ("eval", 6), ("test", 5))
    }
    with np.load(data) as arrays:
        expected = {
            (image.tobytes(), str(label))
            for origin in ("train", "test")
            for image, label in zip(arrays[f"x_{origin}"], arrays[f"y_{origin}"], strict=True)
        }
        test_images = {image.tobytes() for image in arrays["x_test"]}
    assert {pair for pairs in found.values() for pair in pairs} == expected
    assert {image for image, _ in found["test"]} == test_images
    assert find_contract(examples) == DIGITS
    assert examples.split_names == '["train", "eval", "test"]'
    assert examples.span == 3
    assert examples.get_string_custom_property("uri") == str(data)
    assert examples.get_string_custom_property("fingerprint") == "f"
    assert examples.get_string_custom_property("payload_format") == "FORMAT_TF_EXAMPLE"
    for split in SPLITS:
        check_count([str(tmp_path / "out" / f"Split-{split}")], len(found[split]))
        with pytest.raises(LostExamplesError, match=f"Split-{split}: 1 examples were read, but {len(found[split])}"):
            check_count([str(tmp_path / "out" / f"Split-{split}")], 1)


def test_a_shard_that_is_truncated_while_it_is_written_stops_the_step(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = tf.io.TFRecordWriter.__exit__

    def fill_the_disk(writer: tf.io.TFRecordWriter, *error: object) -> None:
        close(writer, *error)
        for file in (tmp_path / "out").glob("Split-eval/*-00001-of-*"):
            os.truncate(file, file.stat().st_size // 2)

    monkeypatch.setattr(tf.io.TFRecordWriter, "__exit__", fill_the_disk)
    with pytest.raises(LostExamplesError, match=r"Split-eval/data_tfrecord-00001-of-00003\.gz: missing or damaged"):
        run(data, tmp_path / "out")


def test_the_seed_determines_the_files(data: Path, tmp_path: Path) -> None:
    for name, seed in (("first", 0), ("second", 0), ("other", 1)):
        run(data, tmp_path / name, seed=seed)
    first, second, other = (records(tmp_path / name, "train") for name in ("first", "second", "other"))
    assert first == second
    assert first != other
    labels = [parsed(record)[1] for record in first]
    assert labels != sorted(labels)
    assert len(list((tmp_path / "first" / "Split-train").iterdir())) == 3


def test_a_sample_is_a_part_of_the_whole(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path / "whole")
    run(data, tmp_path / "sample", max_images=145)
    whole = {record for split in SPLITS for record in records(tmp_path / "whole", split)}
    sample = [record for split in SPLITS for record in records(tmp_path / "sample", split)]
    assert len(sample) == 145
    assert set(sample) < whole


def write_shapes(folder: Path) -> Path:
    """Writes images of different formats and sizes, in two classes."""
    random = np.random.default_rng(0)
    for number in range(12):
        color = random.integers(0, 256, (20 + number % 2, 30, 3), np.uint8)
        contents = {
            "circle/plain.png": encode_image(color),
            "circle/photo.jpg": encode_image(color, "JPEG"),
            "square/clear.png": encode_image(np.full((9, 9, 4), [255, 0, 0, 51], np.uint8)),
            "square/black.bmp": encode_image(np.zeros((28, 28), np.uint8), "BMP"),
        }
        for name, content in contents.items():
            path = folder / name.replace("/", f"/{number}/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return folder


def features_by_file(folder: Path, output: Path, contract: Contract) -> dict[str, dict[str, Any]]:
    run(folder, output, contract)
    found = [features(record) for split in SPLITS for record in records(output, split)]
    assert len(found) == 48
    kinds = {(20, 30): "plain", (21, 30): "plain", (9, 9): "clear", (28, 28): "black"}
    is_jpeg = {True: "photo", False: ""}
    return {
        is_jpeg[each["image"].startswith(b"\xff\xd8")] or kinds[each["height"], each["width"]]: each for each in found
    }


def test_passes_files_on_and_converts_others(tmp_path: Path) -> None:
    folder = write_shapes(tmp_path / "shapes")
    files = {path.read_bytes() for path in folder.rglob("*") if path.suffix in (".png", ".jpg")}
    run(folder, tmp_path / "out", SHAPES)
    images = [features(record)["image"] for split in SPLITS for record in records(tmp_path / "out", split)]
    assert len(files & set(images)) == 24
    assert all(tf.io.decode_image(image).shape[2] in (1, 3) for image in images)


@pytest.mark.parametrize("contract", [DIGITS, SHAPES])
def test_draws_alpha_on_white(tmp_path: Path, contract: Contract) -> None:
    found = features_by_file(write_shapes(tmp_path / "shapes"), tmp_path / "out", contract)
    np.testing.assert_array_equal(tf.io.decode_image(found["clear"]["image"]), np.full((9, 9, 3), (255, 204, 204)))


def test_takes_ink_from_alpha(tmp_path: Path) -> None:
    ink = np.zeros((28, 28, 2), np.uint8)
    ink[4:24, 10:18, 1] = 255
    for name in ("1", "7"):
        (tmp_path / "digits" / name).mkdir(parents=True)
        for number in range(12):
            (tmp_path / "digits" / name / f"{number}.png").write_bytes(encode_image(PillowImage.fromarray(ink, "LA")))
    run(tmp_path / "digits", tmp_path / "out", preparation="ink")
    found = [features(record) for split in SPLITS for record in records(tmp_path / "out", split)]
    assert {tf.io.decode_image(each["image"]).numpy().tobytes() for each in found} == {ink[..., 1].tobytes()}
    assert {each["ink_left"] for each in found} == {np.float32(10 / 28)}


def test_summarizes_images_in_their_own_size(tmp_path: Path) -> None:
    folder = write_shapes(tmp_path / "shapes")
    gray = features_by_file(folder, tmp_path / "gray", DIGITS)
    for kind, label, channels in (("photo", b"circle", 3), ("plain", b"circle", 3), ("black", b"square", 1)):
        assert (gray[kind]["label"], gray[kind]["channels"]) == (label, channels)
        assert gray[kind]["encoded_size"] == len(gray[kind]["image"])
    assert gray["black"]["background_share"] == 1
    assert {key for key in gray["plain"] if key.startswith("ink_")} > {"ink_top", "ink_center_x"}
    assert not any(key.startswith("ink_") for key in gray["black"]), "an image without ink has no place of it"
    color = features_by_file(folder, tmp_path / "color", SHAPES)
    assert not any(key.startswith("ink_") for key in color["plain"])


def test_limits_the_images_in_memory(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(data, tmp_path / "whole")
    monkeypatch.setattr(source, "_MAX_WAITING_BYTES", 3 * 784)
    run(data, tmp_path / "parts")
    assert records(tmp_path / "parts", "train") == records(tmp_path / "whole", "train")


def test_a_damaged_image_stops_the_step(tmp_path: Path) -> None:
    folder = write_shapes(tmp_path / "shapes")
    path = folder / "circle" / "7" / "photo.jpg"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"circle/7/photo.jpg.*: found a damaged or truncated JPEG file"):
        run(folder, tmp_path / "out")


def test_classes_that_cannot_be_learned_stop_the_step(data: Path, tmp_path: Path) -> None:
    with np.load(data) as arrays:
        changed: dict[str, Any] = dict(arrays)
    changed["y_test"][17] = 10
    np.savez_compressed(data, **changed)
    with pytest.raises(DataError, match=r"data\.npz.*: found class '10' in test only, expected a class of train"):
        run(data, tmp_path / "out")


def test_a_label_outside_the_schema_is_left_to_the_gate(data: Path, tmp_path: Path) -> None:
    with np.load(data) as arrays:
        changed: dict[str, Any] = dict(arrays)
    changed["y_train"][:4] = 77
    np.savez_compressed(data, **changed)
    run(data, tmp_path / "out")
    assert Counter(parsed(record)[1] for record in records(tmp_path / "out", "train"))["77"] == 3


def test_lost_records_are_noticed() -> None:
    sizes = {("train", "0"): {"eval": 1, "train": 3}, ("test", "0"): {"test": 2}}
    written = {"Split-eval/0.gz": 1, "Split-train/0.gz": 2, "Split-train/1.gz": 1, "Split-test/0.gz": 2}
    assert verify_counts(written, sizes) == written
    with pytest.raises(RuntimeError, match="Split 'train' has 2 records after writing, expected 3"):
        verify_counts({**written, "Split-train/1.gz": 0}, sizes)


def test_writes_a_shard_in_the_order_of_its_records(tmp_path: Path) -> None:
    parts = [pack_part([(9, b"last"), (1, b"first")]), pack_part([(4, b"middle")])]
    result = write_shard((("eval", 2), parts), str(tmp_path), 4)
    assert result == ("Split-eval/data_tfrecord-00002-of-00004.gz", 3)
    assert [path.name for path in (tmp_path / "Split-eval").iterdir()] == ["data_tfrecord-00002-of-00004.gz"]
    assert records(tmp_path, "eval") == [b"first", b"middle", b"last"]
