import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tfx.types.standard_artifacts import Examples

from components.example_counts import LostExamplesError, check_count
from components.example_gen.executor import Executor, verify_counts, write_shard
from components.example_gen.sources.detection import find_data
from components.example_gen.sources.errors import DataError
from components.features import SPLITS

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


def run(data: Path, output: Path, **changes: object) -> Examples:
    examples = Examples()
    examples.uri = str(output)
    exec_properties = {
        "uri": str(data),
        "span": 3,
        "fingerprint": "f",
        "eval_fraction": 0.25,
        "test_fraction": 0.2,
        "sample_fraction": 1.0,
        "seed": 0,
        "num_shards": 3,
        **changes,
    }
    context = Executor.Context(
        beam_pipeline_args=["--direct_running_mode=in_memory", "--direct_num_workers=1"], tmp_dir=str(output.parent)
    )
    Executor(context).Do({}, {"examples": [examples]}, exec_properties)
    return examples


def records(output: Path, split: str) -> list[bytes]:
    files = sorted(str(path) for path in (output / f"Split-{split}").iterdir())
    return list(tf.data.TFRecordDataset(files, compression_type="GZIP").as_numpy_iterator())


def parsed(serialized: bytes) -> tuple[bytes, int]:
    features = tf.train.Example.FromString(serialized).features.feature
    image, label = features["image"].int64_list.value, features["label"].int64_list.value
    assert len(image) == 784
    assert len(label) == 1
    return bytes(image), label[0]


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


def test_writes_every_image_once_in_stratified_splits(data: Path, tmp_path: Path) -> None:
    examples = run(data, tmp_path / "out")

    found = {split: [parsed(record) for record in records(tmp_path / "out", split)] for split in SPLITS}
    labels = {split: np.bincount([label for _, label in found[split]], minlength=10).tolist() for split in SPLITS}
    assert labels == {"train": [18] * 10, "eval": [6] * 10, "test": [5] * 10}
    with np.load(data) as arrays:
        expected = {
            (image.tobytes(), int(label))
            for origin in ("train", "test")
            for image, label in zip(arrays[f"x_{origin}"], arrays[f"y_{origin}"], strict=True)
        }
        test_images = {image.tobytes() for image in arrays["x_test"]}
    assert {pair for pairs in found.values() for pair in pairs} == expected
    assert {image for image, _ in found["test"]} == test_images
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
    run(data, tmp_path / "sample", sample_fraction=0.5)
    whole = {record for split in SPLITS for record in records(tmp_path / "whole", split)}
    sample = [record for split in SPLITS for record in records(tmp_path / "sample", split)]
    assert len(sample) == 145
    assert set(sample) < whole


def test_a_wrong_label_stops_the_step(data: Path, tmp_path: Path) -> None:
    with np.load(data) as arrays:
        broken: dict[str, Any] = dict(arrays)
    broken["y_train"][17] = 10
    np.savez_compressed(data, **broken)
    with pytest.raises(DataError, match=r"data\.npz, y_train, record 17 .*: found label 10, expected"):
        run(data, tmp_path / "out")


def test_lost_records_are_noticed() -> None:
    sizes = {("train", 0): {"eval": 1, "train": 3}, ("test", 0): {"test": 2}}
    written = {"Split-eval/0.gz": 1, "Split-train/0.gz": 2, "Split-train/1.gz": 1, "Split-test/0.gz": 2}
    assert verify_counts(written, sizes) == written
    with pytest.raises(RuntimeError, match="Split 'train' has 2 records after writing, expected 3"):
        verify_counts({**written, "Split-train/1.gz": 0}, sizes)


def test_writes_a_shard_in_the_order_of_its_records(tmp_path: Path) -> None:
    result = write_shard((("eval", 2), [(9, b"last"), (1, b"first")]), str(tmp_path), 4)
    assert result == ("Split-eval/data_tfrecord-00002-of-00004.gz", 2)
    assert [path.name for path in (tmp_path / "Split-eval").iterdir()] == ["data_tfrecord-00002-of-00004.gz"]
    assert records(tmp_path, "eval") == [b"first", b"last"]
