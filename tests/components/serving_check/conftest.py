"""Exports to check, and the images to check them with."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tfx.components  # noqa: F401 (before tensorflow_data_validation, which it prepares)
from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from components.serving_check.limits import ServingLimits
from components.serving_check.probe import Plan, Report, probe, read_report, write_plan
from components.serving_check.requests import Sample
from tests.components.serving_check.tiny_model import TinyModel, save
from tests.support.examples import png, serialize, write_records


@pytest.fixture(scope="session")
def save_export(tmp_path_factory: pytest.TempPathFactory) -> Callable[[tf.Module], Path]:
    return lambda model: save(model, tmp_path_factory.mktemp("export") / "model")


@pytest.fixture(scope="session")
def good_export(save_export: Callable[[tf.Module], Path]) -> Path:
    return save_export(TinyModel())


@pytest.fixture
def edit_export(tmp_path: Path) -> Callable[[Path, Callable[[MetaGraphDef], None]], Path]:
    """Copies an export and edits its description."""

    def copy(export: Path, edit: Callable[[MetaGraphDef], None]) -> Path:
        model = Path(shutil.copytree(export, tmp_path / "edited"))
        saved_model = SavedModel.FromString((model / "saved_model.pb").read_bytes())
        edit(saved_model.meta_graphs[0])
        (model / "saved_model.pb").write_bytes(saved_model.SerializeToString())
        return model

    return copy


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    """Noise that is normalized as MNIST is: it fills a box of 20x20 pixels, its center of mass in the middle.

    uint8[8,28,28,1].
    """
    images = np.zeros((8, 28, 28, 1), np.uint8)
    images[:, 4:24, 4:24] = np.random.default_rng(0).integers(100, 256, (8, 20, 20, 1), dtype=np.uint8)
    # The middle is that of a pixel, half a pixel further than that of the box.
    images[:, 18:23, 18:23] = 255
    return images


@pytest.fixture(scope="session")
def limits() -> ServingLimits:
    # Tests share their machine: none is about speed.
    return ServingLimits(num_requests=8, huge_batch=24, max_latency_ms=60_000)


@pytest.fixture(scope="session")
def make_sample(tmp_path_factory: pytest.TempPathFactory) -> Callable[[np.ndarray, Sequence[bytes]], Sample]:
    """Makes a sample of images and image files."""

    def make(images: np.ndarray, files: Sequence[bytes]) -> Sample:
        shard = tmp_path_factory.mktemp("examples") / "data.gz"
        write_records(shard, [serialize(image=file, label=b"3") for file in files])
        return Sample(images, [str(shard)], len(files))

    return make


@pytest.fixture(scope="session")
def sample(make_sample: Callable[[np.ndarray, Sequence[bytes]], Sample], images: np.ndarray) -> Sample:
    return make_sample(images, [png(image) for image in images])


@pytest.fixture
def probe_here(tmp_path: Path) -> Callable[[Plan, Sample], Report]:
    """Runs the probe in this process."""

    def run(plan: Plan, sample: Sample) -> Report:
        write_plan(plan, sample, tmp_path)
        probe(tmp_path)
        return read_report(tmp_path)

    return run
