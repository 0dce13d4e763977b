import logging
import re

import keras
import numpy as np
import pytest

from components.trainer.progress import ProgressLogger

LOGGER = "components.trainer.progress"
RESULTS = {"loss": 0.25, "accuracy": 0.9, "val_loss": 0.5, "val_accuracy": 0.8}


def messages(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [record.getMessage() for record in caplog.records if (record.name, record.levelno) == (LOGGER, level)]


def epoch(progress: ProgressLogger, number: int, num_steps: int) -> None:
    progress.on_epoch_begin(number)
    for step in range(num_steps):
        progress.on_train_batch_end(step)
    progress.on_epoch_end(number, RESULTS)


@pytest.mark.parametrize(
    ("num_steps", "percents"),
    [
        (100, [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]),
        (4, [25, 50, 75, 100]),
        (25, [8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96]),
    ],
)
def test_an_epoch_says_about_ten_times_how_far_it_is(
    caplog: pytest.LogCaptureFixture, num_steps: int, percents: list[int]
) -> None:
    caplog.set_level(logging.DEBUG, logger=LOGGER)
    progress = ProgressLogger(num_steps)
    progress.set_params({"epochs": 2})
    epoch(progress, 1, num_steps)
    assert messages(caplog, logging.DEBUG) == [f"epoch 2/2, {percent} %" for percent in percents]


def test_an_epoch_ends_with_its_results(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    caplog.set_level(logging.INFO, logger=LOGGER)
    progress = ProgressLogger(3)
    progress.set_params({"epochs": 2})
    times = iter([100.0, 103.0, 103.0, 110.0])
    monkeypatch.setattr("components.trainer.progress.time.monotonic", lambda: next(times))
    for number in range(2):
        epoch(progress, number, 3)
    results = "loss 0.2500, accuracy 90.00 %; eval 0.5000, 80.00 %"
    assert messages(caplog, logging.INFO) == [f"epoch 1/2: {results} (3 s)", f"epoch 2/2: {results} (7 s)"]
    assert messages(caplog, logging.DEBUG) == []


def test_keras_calls_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger=LOGGER)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, activation="softmax")])
    model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    images, labels = np.zeros((10, 2), np.float32), np.zeros(10, np.int64)
    model.fit(
        images,
        labels,
        batch_size=5,
        epochs=2,
        validation_data=(images, labels),
        callbacks=[ProgressLogger(2)],
        verbose=0,
    )
    assert messages(caplog, logging.DEBUG) == [
        f"epoch {number}/2, {share} %" for number in (1, 2) for share in (50, 100)
    ]
    first, second = messages(caplog, logging.INFO)
    pattern = r"epoch {}/2: loss \d\.\d{{4}}, accuracy [\d.]+ %; eval \d\.\d{{4}}, [\d.]+ % \(\d+ s\)"
    assert re.fullmatch(pattern.format(1), first)
    assert re.fullmatch(pattern.format(2), second)
