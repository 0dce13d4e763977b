"""Training progress for people: what a terminal or a pod's log shows while the network learns."""

import logging
import time

import keras

logger = logging.getLogger(__name__)

_UPDATES_PER_EPOCH = 10


class ProgressLogger(keras.callbacks.Callback):
    """Logs each epoch at INFO, and how far the current one is at DEBUG."""

    def __init__(self, steps_per_epoch: int) -> None:
        """Takes the number of steps of an epoch, which Keras does not know of a generated data set."""
        super().__init__()
        self._steps_per_epoch = steps_per_epoch
        self._log_every = max(1, steps_per_epoch // _UPDATES_PER_EPOCH)
        self._epoch = 0
        self._epoch_start = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Keras calls this; remembers the epoch and when it began."""
        self._epoch = epoch + 1
        self._epoch_start = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Keras calls this; logs about ten times per epoch."""
        if (batch + 1) % self._log_every == 0:
            share = (batch + 1) / self._steps_per_epoch
            logger.debug("epoch %d/%d, %.0f %%", self._epoch, self.params["epochs"], 100 * share)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Keras calls this; logs loss and accuracy on train, and on eval."""
        values = logs or {}
        logger.info(
            "epoch %d/%d: loss %.4f, accuracy %.2f %%; eval %.4f, %.2f %% (%.0f s)",
            self._epoch,
            self.params["epochs"],
            values["loss"],
            100 * values["accuracy"],
            values["val_loss"],
            100 * values["val_accuracy"],
            time.monotonic() - self._epoch_start,
        )
