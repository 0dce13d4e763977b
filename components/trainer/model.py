"""The network and its optimizer: a small Keras 3 CNN that learns digits in a few minutes on two cores."""

import keras

from components.features import IMAGE_SHAPE, NUM_CLASSES
from components.trainer.hyperparameters import Hyperparameters

_WARMUP_SHARE = 0.1
_INITIAL_LEARNING_RATE_SHARE = 0.05


def build_model(dropout: float) -> keras.Model:
    """Builds the classifier (253,354 parameters).

    A 5x5 convolution of stride 2 halves the image first, and most layers work on a quarter of its width and height:
    this is fast on a CPU at little cost in accuracy.

    Args:
        dropout: Share of the last features dropped during training, from 0 to below 1.

    Returns:
        A model from float32[n,28,28,1], standardized, to logits float32[n,10]. It has no softmax: the loss is
        numerically more stable on logits, and the export first divides them by the calibration temperature.
    """
    image = keras.Input(IMAGE_SHAPE, name="image")
    features = _convolution(image, filters=32, size=5, strides=2)
    features = _convolution(features, filters=64, size=3)
    features = keras.layers.MaxPooling2D()(features)
    features = _convolution(features, filters=128, size=3)
    features = _convolution(features, filters=128, size=3)
    features = keras.layers.MaxPooling2D()(features)
    features = keras.layers.Flatten()(features)
    features = keras.layers.Dropout(dropout)(features)
    logits = keras.layers.Dense(NUM_CLASSES, name="logits")(features)
    return keras.Model(image, logits, name="digit_classifier")


def compile_model(model: keras.Model, hyperparameters: Hyperparameters, num_steps: int) -> None:
    """Compiles the model with AdamW, warm-up and cosine decay of the learning rate, and label smoothing.

    Args:
        model: Model from images to logits float32[n,10].
        hyperparameters: Learning rate, weight decay and label smoothing.
        num_steps: Steps of the whole training, over which the learning rate rises and falls back to zero.
    """
    warmup_steps = max(1, int(num_steps * _WARMUP_SHARE))
    learning_rate = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=hyperparameters.learning_rate * _INITIAL_LEARNING_RATE_SHARE,
        warmup_target=hyperparameters.learning_rate,
        warmup_steps=warmup_steps,
        decay_steps=max(1, num_steps - warmup_steps),
    )
    model.compile(
        optimizer=keras.optimizers.AdamW(learning_rate, weight_decay=hyperparameters.weight_decay),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=hyperparameters.label_smoothing),
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
        jit_compile=False,
    )


def _convolution(inputs: keras.KerasTensor, filters: int, size: int, strides: int = 1) -> keras.KerasTensor:
    features = keras.layers.Conv2D(
        filters, size, strides=strides, padding="same", use_bias=False, kernel_initializer="he_normal"
    )(inputs)
    # Batch normalization makes a bias of the convolution redundant.
    features = keras.layers.BatchNormalization()(features)
    return keras.layers.ReLU()(features)
