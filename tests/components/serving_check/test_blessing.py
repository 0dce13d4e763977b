from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog
from tfx.components.pusher.executor import Executor as PusherExecutor
from tfx.types.standard_artifacts import InfraBlessing

from components.serving_check.blessing import bless, refuse_blessing
from components.serving_check.warm_up import warm_up_requests


@pytest.fixture
def blessing(tmp_path: Path) -> InfraBlessing:
    artifact = InfraBlessing()
    artifact.uri = str(tmp_path / "blessing")
    return artifact


def test_a_pusher_finds_the_blessed_model_with_its_warm_up_requests(
    blessing: InfraBlessing, good_export: Path, images: np.ndarray
) -> None:
    requests = list(warm_up_requests(images, "digits"))
    bless(blessing, str(good_export), requests)
    pusher, inputs = PusherExecutor(), {"infra_blessing": [blessing]}
    assert pusher.CheckBlessing(inputs)
    assert (Path(blessing.uri) / "INFRA_BLESSED").exists()
    model = Path(pusher.GetModelPath(inputs))
    assert (model / "saved_model.pb").read_bytes() == (good_export / "saved_model.pb").read_bytes()
    tf.saved_model.load(str(model))
    records = tf.data.TFRecordDataset(str(model / "assets.extra" / "tf_serving_warmup_requests"))
    assert [PredictionLog.FromString(record) for record in records.as_numpy_iterator()] == requests


def test_a_pusher_refuses_what_is_not_blessed(blessing: InfraBlessing) -> None:
    refuse_blessing(blessing)
    assert not PusherExecutor().CheckBlessing({"infra_blessing": [blessing]})
    assert [path.name for path in Path(blessing.uri).iterdir()] == ["INFRA_NOT_BLESSED"]
    assert not blessing.has_custom_property("has_model")
