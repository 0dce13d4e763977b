"""Measures a pushed model in a process that knows nothing of its training; each command prints JSON."""

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import click
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.core.protobuf.config_pb2 import CallableOptions, ConfigProto

from benchmarks import outliers as outlier_kinds
from benchmarks.deformations import DEFORMATIONS, deform_smoothly
from benchmarks.drawings import KINDS, draw_kind
from benchmarks.mnist import ENCODINGS, load_mnist, our_example, re_render, tfx_example, to_digits
from components.robustness.corruptions import CORRUPTIONS, corrupt
from registry.signatures import (
    EXAMPLES,
    EXAMPLES_INPUT,
    IMAGE_BYTES_INPUT,
    IMAGE_INPUT,
    LABEL_OUTPUT,
    MAX_BATCH,
    PIXELS,
    PROBABILITIES_OUTPUT,
    SERVING_DEFAULT,
    STATUS_OK,
    STATUS_OUTPUT,
)

Pipeline = Literal["tfx_example", "ours"]
Loader = Literal["python", "session"]
Ask = Callable[[Any], NDArray[Any]]

CLEAN = "clean"
CALIBRATION_ERROR = "calibration_error"
PIXELS_ROW = "pixels: MNIST's images"
SERVING_ROW = "serving_default: the same as PNGs"
RE_RENDERED_ROW = "serving_default: re-rendered"

_BATCH_SIZE = min(MAX_BATCH.values())
_NUM_BINS = 15
_RENDERING_SEED = 11
_NUM_ROUNDS = 25
_ONE_CORE = ConfigProto(inter_op_parallelism_threads=1, intra_op_parallelism_threads=1)

_directory = click.argument("directory", type=click.Path(exists=True, file_okay=False))


@dataclass(frozen=True)
class _Contract:
    """The signature of a model that accepts serialized tf.Examples.

    Attributes:
        encode: Serializes a digit.
        signature: Name of the signature, with the input `examples`, string[n].
        output: Name of its output with a score per digit, float32[n,10].
    """

    encode: Callable[[NDArray[np.uint8]], bytes]
    signature: str
    output: str


_CONTRACTS: dict[Pipeline, _Contract] = {
    # Its parser drops the label.
    "tfx_example": _Contract(lambda digit: tfx_example(digit, label=0), "serving_default", "output_0"),
    "ours": _Contract(our_example, EXAMPLES, PROBABILITIES_OUTPUT),
}


@click.group()
def main() -> None:
    """Measure a pushed model."""


@main.command()
@click.argument("pipeline", type=click.Choice(list(_CONTRACTS)))
@click.argument("loader", type=click.Choice(["python", "session"]))
@_directory
def accuracy(pipeline: Pipeline, loader: Loader, directory: str) -> None:
    """Print the test accuracy, 0 to 1, or why LOADER cannot run the model.

    The loaders are that of TensorFlow 2 in Python, and the session-based one of TF Serving, C++, Java and Go.
    """
    contract = _CONTRACTS[pipeline]
    digits, labels = load_mnist("test")
    try:
        ask = {"python": _load_in_python, "session": _load_in_session}[loader](directory, contract)
        scores = _in_batches(ask, [contract.encode(digit) for digit in digits])
        result: dict[str, float | str] = {"accuracy": _share_right(scores.argmax(axis=-1), labels)}
    except tf.errors.OpError as error:
        result = {"error": " ".join(error.message.split())}
    click.echo(json.dumps(result))


@main.command()
@_directory
@click.option("--seed", default=1, help="Seed of the corruptions and deformations.")
def robustness(directory: str, seed: int) -> None:
    """Print the accuracies, clean, under each corruption and deformation, and the calibration error, 0 to 1."""
    digits, labels = load_mnist("test")
    ask = _signature(directory, PIXELS, IMAGE_INPUT, PROBABILITIES_OUTPUT)

    def probabilities(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return _in_batches(ask, images.astype(np.float32))

    clean = probabilities(digits)
    result = {CLEAN: _share_right(clean.argmax(axis=-1), labels)}
    changes: dict[str, Callable[[NDArray[np.uint8], np.random.Generator], NDArray[np.uint8]]] = {
        **{name: partial(_corrupt, name) for name in CORRUPTIONS},
        **{name: partial(deform_smoothly, strength=strength) for name, strength in DEFORMATIONS.items()},
    }
    for number, (name, change) in enumerate(changes.items()):
        generator = np.random.default_rng([seed, number])
        changed = np.concatenate([change(part, generator) for part in np.array_split(digits, 10)])
        result[name] = _share_right(probabilities(changed).argmax(axis=-1), labels)
    click.echo(json.dumps({**result, CALIBRATION_ERROR: calibration_error(clean, labels)}))


@main.command()
@_directory
def normalization(directory: str) -> None:
    """Print the accuracy, 0 to 1, on test images as arrays, as PNGs, and re-rendered."""
    digits, labels = load_mnist("test")
    random = np.random.default_rng(_RENDERING_SEED)
    pixels = _signature(directory, PIXELS, IMAGE_INPUT, LABEL_OUTPUT)
    files = _signature(directory, SERVING_DEFAULT, IMAGE_BYTES_INPUT, LABEL_OUTPUT)
    found = {
        PIXELS_ROW: _in_batches(pixels, digits.astype(np.float32)),
        SERVING_ROW: _in_batches(files, [ENCODINGS["28x28, gray PNG"](digit) for digit in digits]),
        RE_RENDERED_ROW: _in_batches(files, [re_render(digit, random) for digit in digits]),
    }
    click.echo(json.dumps({name: _share_right(to_digits(answers), labels) for name, answers in found.items()}))


@main.command()
@_directory
@click.argument("num_images", type=int)
def drawings(directory: str, num_images: int) -> None:
    """Print the accuracy, 0 to 1, on each kind of drawing."""
    files = _signature(directory, SERVING_DEFAULT, IMAGE_BYTES_INPUT, LABEL_OUTPUT)
    accuracies = {}
    for kind in KINDS:
        images, labels = draw_kind(kind, num_images)
        # Many photos exceed the limit of a request.
        accuracies[kind] = _share_right(to_digits(_in_batches(files, images, batch_size=1)), labels)
    click.echo(json.dumps(accuracies))


@main.command()
@_directory
@click.argument("num_images", type=int)
def outliers(directory: str, num_images: int) -> None:
    """Print the share that is not `ok`, 0 to 1, of the test digits and of each kind of outlier."""
    pixels = _signature(directory, PIXELS, IMAGE_INPUT, STATUS_OUTPUT)
    files = _signature(directory, SERVING_DEFAULT, IMAGE_BYTES_INPUT, STATUS_OUTPUT)
    statuses = {outlier_kinds.DIGITS: _in_batches(pixels, load_mnist("test")[0].astype(np.float32))}
    for kind in outlier_kinds.KINDS:
        statuses[kind] = _in_batches(files, outlier_kinds.draw_outliers(kind, num_images))
    click.echo(json.dumps({kind: float(np.mean(found != STATUS_OK.encode())) for kind, found in statuses.items()}))


@main.command()
@_directory
@click.option("--batch-size", default=32, help="Images per call.")
def cost(directory: str, batch_size: int) -> None:
    """Print milliseconds per image on one core, for each encoding: `pixels`, added by `serving_default`, decoding."""
    digits = load_mnist("test")[0][:batch_size]
    with tf.compat.v1.Session(graph=tf.Graph(), config=_ONE_CORE) as session:
        graph = tf.compat.v1.saved_model.load(session, [tf.saved_model.SERVING], directory)

        def signature(name: str) -> Ask:
            (feed,) = graph.signature_def[name].inputs.values()
            fetches = [output.name for output in graph.signature_def[name].outputs.values()]
            return session._make_callable_from_options(CallableOptions(feed=[feed.name], fetch=fetches))

        asks = [signature(PIXELS), signature(SERVING_DEFAULT), _decoder(session)]
        figures = {}
        for name, encode in ENCODINGS.items():
            files = np.array([encode(digit) for digit in digits], dtype=object)
            inputs = [digits.astype(np.float32), files, files]
            # In turn, so that whatever slows the machine slows all of them.
            rounds = [[_seconds(*call) for call in zip(asks, inputs, strict=True)] for _ in range(_NUM_ROUNDS)]
            medians = [statistics.median(times) for times in zip(*rounds, strict=True)]
            pixels, whole, decoding = (1000 * seconds / batch_size for seconds in medians)
            figures[name] = {"pixels": pixels, "added": whole - pixels, "decoding": decoding}
    click.echo(json.dumps(figures))


def calibration_error(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Returns the expected calibration error, 0 to 1, over 15 bins of confidence (Guo et al. 2017, arXiv:1706.04599).

    It is independent of the gate's own metric, so that the two confirm each other.
    """
    confidence = probabilities.max(axis=-1).astype(np.float64)
    right = probabilities.argmax(axis=-1) == labels
    bins = np.minimum((confidence * _NUM_BINS).astype(int), _NUM_BINS - 1)
    distances = [abs(np.sum(confidence[bins == number] - right[bins == number])) for number in range(_NUM_BINS)]
    return float(np.sum(distances) / len(labels))


def _corrupt(name: str, digits: NDArray[np.uint8], generator: np.random.Generator) -> NDArray[np.uint8]:
    return corrupt(name, digits[..., np.newaxis], generator)[..., 0]


def _signature(directory: str, signature: str, name: str, output: str) -> Ask:
    model = tf.saved_model.load(directory)
    # Not the signature alone: the model owns the variables.
    return lambda values: model.signatures[signature](**{name: tf.constant(values)})[output].numpy()


def _load_in_python(directory: str, contract: _Contract) -> Ask:
    return _signature(directory, contract.signature, EXAMPLES_INPUT, contract.output)


def _load_in_session(directory: str, contract: _Contract) -> Ask:
    session = tf.compat.v1.Session(graph=tf.Graph())
    graph = tf.compat.v1.saved_model.load(session, [tf.saved_model.SERVING], directory)
    signature = graph.signature_def[contract.signature]
    request, answer = signature.inputs[EXAMPLES_INPUT].name, signature.outputs[contract.output].name
    return lambda examples: session.run(answer, {request: examples})


def _decoder(session: tf.compat.v1.Session) -> Ask:
    with session.graph.as_default():
        files = tf.compat.v1.placeholder(tf.string, [None])
        decoded = tf.map_fn(
            lambda file: tf.size(tf.io.decode_image(file, expand_animations=False)),
            files,
            fn_output_signature=tf.TensorSpec([], tf.int32),
        )
    return session._make_callable_from_options(CallableOptions(feed=[files.name], fetch=[decoded.name]))


def _in_batches(ask: Ask, values: Sequence[bytes] | NDArray[Any], batch_size: int = _BATCH_SIZE) -> NDArray[Any]:
    starts = range(0, len(values), batch_size)
    return np.concatenate([ask(values[start : start + batch_size]) for start in starts])


def _share_right(digits: NDArray[Any], labels: NDArray[np.integer]) -> float:
    return float(np.mean(digits == labels))


def _seconds(ask: Ask, values: NDArray[Any]) -> float:
    start = time.perf_counter()
    ask(values)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
