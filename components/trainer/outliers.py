"""Detects images that show none of the classes, from what the network computes for them.

A network is sure of its answer for many of them. But their features are far from those of every class: the detector
weighs the logarithms of the Mahalanobis distances to the two nearest classes (Lee et al. 2018, arXiv:1807.03888), the
largest logit, its margin, and the energy (Liu et al. 2020, arXiv:2010.03759).
"""

from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from components.trainer.model import FEATURES_LAYER

_MAX_IMAGES = 5_000
_BATCH_SIZE = 256
_NUM_TILES = 4
# Relative to the mean variance, so that the covariance of few images has an inverse.
_SHRINKAGE = 1e-3
_RIDGE = 1e-4

_Floats = NDArray[np.floating]


@dataclass(frozen=True)
class OutlierDetector:
    """A score for each image, above 0 if it looks like none of the classes.

    Attributes:
        mean: float32[f], of the features of all images.
        whitening: float32[f,f], makes the variance of the features within the classes 1.
        centers: float32[k,f], whitened features of each class.
        weights: float32[d], of the evidence that an image is an outlier.
        bias: Shifts the scores so that the requested share of images is above 0.
    """

    mean: _Floats
    whitening: _Floats
    centers: _Floats
    weights: _Floats
    bias: float

    def scores(self, logits: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
        """Returns the score of each image, float32[n], from the outputs of `with_features`."""
        evidence = _evidence(logits, features, self.mean, self.whitening, self.centers)
        return tf.linalg.matvec(evidence, tf.constant(self.weights, tf.float32)) + self.bias


def with_features(model: keras.Model) -> keras.Model:
    """Returns a model with the same weights that also outputs the features of an image.

    Args:
        model: From `build_model`.

    Returns:
        A model from images to logits float32[n,k] and features float32[n,f]: mean and standard deviation over the image
        of each of the last feature maps.
    """
    maps = model.get_layer(FEATURES_LAYER).input
    moments = [keras.ops.mean(maps, axis=(1, 2)), keras.ops.std(maps, axis=(1, 2))]
    return keras.Model(model.input, [model.output, keras.ops.concatenate(moments, axis=-1)])


def fit_outlier_detector(model: keras.Model, examples: tf.data.Dataset, share: float, seed: int) -> OutlierDetector:
    """Fits a detector by logistic regression of images against outliers that are made from them.

    Args:
        model: From `with_features`.
        examples: Dataset of (image float32[height,width,channels], standardized, label), which the network was not
            trained on. One half is for the regression, the other half for the threshold.
        share: Share of images that may be outliers, above 0.
        seed: Seed of the outliers.
    """
    images, labels = map(np.stack, zip(*examples.take(_MAX_IMAGES).as_numpy_iterator(), strict=True))
    fitted, held_out = images[::2], images[1::2] if len(images) > 1 else images
    random = np.random.default_rng(seed)
    outliers = np.concatenate([_shuffled_tiles(fitted, random), _pairs(fitted, random)])
    (logits, features), (outlier_logits, outlier_features) = (_predict(model, each) for each in (fitted, outliers))
    space = _whitened_space(features, labels[::2])
    known = _evidence(logits, features, *space).numpy().astype(np.float64)
    weights = _fit_logistic(known, _evidence(outlier_logits, outlier_features, *space).numpy().astype(np.float64))
    scores = OutlierDetector(*space, weights, 0.0).scores(*_predict(model, held_out))
    return OutlierDetector(*space, weights, -float(np.quantile(scores, 1 - share)))


def _predict(model: keras.Model, images: _Floats) -> tuple[_Floats, _Floats]:
    logits, features = model.predict(images, batch_size=_BATCH_SIZE, verbose=0)
    return logits, features


def _shuffled_tiles(images: _Floats, random: np.random.Generator) -> _Floats:
    """Cuts each image into 4 x 4 tiles, and changes their order."""
    height, width = (length // _NUM_TILES for length in images.shape[1:3])
    shuffled = images.copy()
    for image, copy in zip(images, shuffled, strict=True):
        for place, tile in enumerate(random.permutation(_NUM_TILES**2)):
            (top, left), (row, column) = (divmod(number, _NUM_TILES) for number in (place, tile))
            source = image[row * height : (row + 1) * height, column * width : (column + 1) * width]
            copy[top * height : (top + 1) * height, left * width : (left + 1) * width] = source
    return shuffled


def _pairs(images: _Floats, random: np.random.Generator) -> _Floats:
    """Puts two images next to each other, each of half the width."""
    both = [images[:, :, ::2], random.permutation(images)[:, :, ::2]]
    return np.concatenate(both, axis=2)[:, :, : images.shape[2]]


def _whitened_space(features: _Floats, labels: NDArray[np.integer]) -> tuple[_Floats, _Floats, _Floats]:
    """Returns mean, whitening and centers of a detector."""
    # Not every class may have images here.
    present, positions = np.unique(labels, return_inverse=True)
    features = features.astype(np.float64)
    centers = np.stack([features[positions == position].mean(axis=0) for position in range(len(present))])
    deviations = features - centers[positions]
    covariance = deviations.T @ deviations / len(features)
    least = _SHRINKAGE * np.trace(covariance) / len(covariance) + keras.config.epsilon()
    whitening = np.linalg.cholesky(np.linalg.inv(covariance + least * np.eye(len(covariance))))
    mean = features.mean(axis=0)
    return mean, whitening, (centers - mean) @ whitening


def _evidence(logits: tf.Tensor, features: tf.Tensor, mean: _Floats, whitening: _Floats, centers: _Floats) -> tf.Tensor:
    """Returns the evidence that each image is an outlier, float32[n,d]."""
    whitened = tf.matmul(features - tf.constant(mean, tf.float32), tf.constant(whitening, tf.float32))
    products = tf.matmul(whitened, tf.constant(centers.T, tf.float32))
    squares = tf.reduce_sum(whitened**2, axis=-1, keepdims=True) + tf.constant((centers**2).sum(-1), tf.float32)
    # Rounding may make a distance of almost zero negative.
    distances = tf.maximum(squares - 2 * products, 1.0)
    nearest = -tf.math.top_k(-distances, min(2, len(centers))).values
    best = tf.math.top_k(logits, 2).values
    energy = tf.reduce_logsumexp(logits, axis=-1)
    columns = tf.stack([best[:, 0], best[:, 0] - best[:, 1], energy], axis=-1)
    return tf.concat([columns, tf.math.log(nearest)], axis=-1)


def _fit_logistic(known: _Floats, outliers: _Floats) -> _Floats:
    """Returns the weights of a logistic regression in which both groups count equally, without its constant."""
    both = np.concatenate([known, outliers])
    deviation = both.std(axis=0) + keras.config.epsilon()
    inputs = np.pad((both - both.mean(axis=0)) / deviation, ((0, 0), (0, 1)), constant_values=1)
    signs, importance = (
        np.repeat(values, (len(known), len(outliers))) for values in ((-1, 1), (0.5 / len(known), 0.5 / len(outliers)))
    )

    def loss_and_gradient(weights: _Floats) -> tuple[float, _Floats]:
        margins = signs * (inputs @ weights)
        loss = float(importance @ np.logaddexp(0, -margins) + _RIDGE * weights @ weights)
        return loss, inputs.T @ (-importance * signs * expit(-margins)) + 2 * _RIDGE * weights

    fitted = minimize(loss_and_gradient, np.zeros(inputs.shape[1]), jac=True, method="L-BFGS-B").x
    return fitted[:-1] / deviation
