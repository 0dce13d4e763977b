"""A run of the fast profile on all of MNIST; a model of the smoke profile is too weak for these tests."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

PICTURES = Path(__file__).parent / "pictures"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def fast_run(run_digits: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    return run_digits(tmp_path_factory.mktemp("fast") / "workspace", "--profile", "fast")


def test_the_model_is_accurate_and_pushed(fast_run: Any) -> None:
    assert fast_run.exit_code == 0, fast_run.shown
    assert min(fast_run.result["class_accuracy"].values()) > 0.98


@pytest.mark.parametrize("picture", ["printed_1.png", "long_upstroke_1.png"])
def test_a_one_with_an_upstroke_is_no_seven(fast_run: Any, picture: str) -> None:
    predict = tf.saved_model.load(fast_run.result["model"]).signatures["serving_default"]
    answer = predict(image_bytes=tf.constant([(PICTURES / picture).read_bytes()]))
    assert (answer["label"].numpy()[0], answer["status"].numpy()[0]) == (b"1", b"ok")
