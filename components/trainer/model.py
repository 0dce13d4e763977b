"""The network and its optimizer: a small Keras 3 CNN that learns MNIST in a few minutes on two cores."""

import math

import keras

from components.features import Contract
from components.trainer.hyperparameters import Hyperparameters

_SHORTEST_SIDE = 7
"""Shorter side of an image that the blocks do not halve."""
_LARGEST_FLATTENED_SIDE = 3

_WARMUP_SHARE = 0.1
_INITIAL_LEARNING_RATE_SHARE = 0.05


def build_model(contract: Contract, dropout: float) -> keras.Model:
    """Builds the classifier.

    A 5x5 convolution of stride 2 halves the image first, and most layers work on a quarter of its width and height or
    less: this is fast on a CPU at little cost in accuracy. Blocks of 3x3 convolutions follow, and each halves the image
    again, until the shorter side has about 3 pixels. Larger images pass through more blocks of 32 filters first:

    - 28x28: 64 filters, then twice 128, to 3x3 pixels, which are flattened; 253,354 parameters for MNIST.
    - 64x64: first 32 filters, then the same, to 4x4 pixels, which are averaged; 253,155 for 3 classes in color.
    - 128x128: first twice 32 filters, then the same, to 4x4 pixels, which are averaged; 262,499 for 3 classes in color.

    Args:
        contract: Size of the images and classes.
        dropout: Share of the last features dropped during training, from 0 to below 1.

    Returns:
        A model from float32[n,height,width,channels], standardized, to logits float32[n,k] of k classes. It has no
        softmax: the loss is numerically more stable on logits, and the export first divides them by the calibration
        temperature.
    """
    num_halvings = max(0, round(math.log2(min(contract.height, contract.width) / _SHORTEST_SIDE)))
    image = keras.Input(contract.image_shape, name="image")
    features = _convolution(image, filters=32, size=5, strides=2)
    blocks: list[tuple[int, ...]] = [(32,)] * (num_halvings - 2) + [(64,), (128, 128)]
    for number, block in enumerate(blocks):
        for filters in block:
            features = _convolution(features, filters, size=3)
        # A small image is halved less often.
        if number < num_halvings:
            features = keras.layers.MaxPooling2D()(features)
    if max(features.shape[1:3]) > _LARGEST_FLATTENED_SIDE:
        features = keras.layers.GlobalAveragePooling2D()(features)
    else:
        features = keras.layers.Flatten()(features)
    features = keras.layers.Dropout(dropout)(features)
    logits = keras.layers.Dense(len(contract.classes), name="logits")(features)
    return keras.Model(image, logits, name="classifier")


def compile_model(model: keras.Model, hyperparameters: Hyperparameters, num_steps: int) -> None:
    """Compiles the model with AdamW, warm-up and cosine decay of the learning rate, and label smoothing.

    Args:
        model: Model from images to logits float32[n,k].
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
