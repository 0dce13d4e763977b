"""The network and its optimizer: a small Keras 3 CNN that learns MNIST in a few minutes on two cores."""

import math

import keras

from components.features import Contract
from components.trainer.hyperparameters import Hyperparameters
from components.trainer.optimizer import Muon

FEATURES_LAYER = "features"
"""Name of the layer whose input is the last feature maps."""

_SHORTEST_SIDE = 7
"""About the shorter side of the images in the last blocks, in pixels."""

_WARMUP_SHARE = 0.1
_INITIAL_LEARNING_RATE_SHARE = 0.05


def build_model(contract: Contract, hyperparameters: Hyperparameters) -> keras.Model:
    """Builds the classifier.

    Convolutions of stride 2 reduce the image until its shorter side has about 7 pixels: one of 5x5, and others of 3x3,
    of which the last has `width` filters and all before it half as many. `depth` residual blocks (He et al. 2016,
    arXiv:1512.03385) follow, and a mean of each feature over the image, with learned weights. Most work is done on
    small images, where a CPU does it fastest. With the defaults:

    - 28x28: to 14x14 and 7x7; 171,882 parameters for MNIST.
    - 64x64: to 32x32, 16x16 and 8x8; 183,331 for 3 classes in color.
    - 128x128: to 64x64, 32x32, 16x16 and 8x8; 192,675 for 3 classes in color.

    Args:
        contract: Size of the images and classes.
        hyperparameters: Width and depth.

    Returns:
        A functional model from float32[n,height,width,channels], standardized, to logits float32[n,k] of k classes. It
        has no softmax: the loss is numerically more stable on logits, and the export first divides them by the
        calibration temperature.
    """
    num_halvings = max(0, round(math.log2(min(contract.height, contract.width) / _SHORTEST_SIDE)))
    filters = hyperparameters.width
    image = keras.Input(contract.image_shape, name="image")
    features = keras.layers.ReLU()(_convolution(image, filters // 2, size=5, strides=1 + (num_halvings > 0)))
    for _ in range(num_halvings - 2):
        features = keras.layers.ReLU()(_convolution(features, filters // 2, strides=2))
    features = keras.layers.ReLU()(_convolution(features, filters, strides=1 + (num_halvings > 1)))
    for _ in range(hyperparameters.depth):
        inner = keras.layers.ReLU()(_convolution(features, filters))
        features = keras.layers.ReLU()(features + _convolution(inner, filters))
    features = _weighted_mean(features)
    logits = keras.layers.Dense(len(contract.classes), name="logits")(features)
    return keras.Model(image, logits, name="classifier")


def compile_model(model: keras.Model, hyperparameters: Hyperparameters, num_steps: int) -> None:
    """Compiles the model with Muon, warm-up and cosine decay of the learning rate, and label smoothing.

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
        optimizer=Muon(learning_rate, weight_decay=hyperparameters.weight_decay),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=hyperparameters.label_smoothing),
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
        jit_compile=False,
    )


def _weighted_mean(inputs: keras.KerasTensor) -> keras.KerasTensor:
    """Returns a mean of each feature over the image; its weights start equal."""
    size = inputs.shape[1:3]
    weights = keras.initializers.Constant(1 / math.prod(size))
    layer = keras.layers.DepthwiseConv2D(size, use_bias=False, depthwise_initializer=weights, name=FEATURES_LAYER)
    return keras.layers.Flatten()(layer(inputs))


def _convolution(inputs: keras.KerasTensor, filters: int, size: int = 3, strides: int = 1) -> keras.KerasTensor:
    features = keras.layers.Conv2D(
        filters, size, strides=strides, padding="same", use_bias=False, kernel_initializer="he_normal"
    )(inputs)
    # Batch normalization makes a bias of the convolution redundant.
    return keras.layers.BatchNormalization()(features)
