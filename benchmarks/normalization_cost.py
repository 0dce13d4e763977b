"""Times a pushed model on one core, with and without the normalization, in a process that only knows the model."""

import json
import statistics
import time
from collections.abc import Callable

import click
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.core.protobuf.config_pb2 import CallableOptions, ConfigProto

from benchmarks.encoded_digits import ENCODINGS
from benchmarks.mnist_examples import load_mnist
from registry.signatures import PIXELS, SERVING_DEFAULT

Ask = Callable[[NDArray[np.generic]], object]

_BATCH_SIZE = 32
_NUM_ROUNDS = 25
_ONE_CORE = ConfigProto(inter_op_parallelism_threads=1, intra_op_parallelism_threads=1)


@click.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False))
def main(directory: str) -> None:
    """Print milliseconds per image of `pixels`, and for each encoding of the rest and of decoding alone, as JSON."""
    digits = load_mnist("test")[0][:_BATCH_SIZE]
    with tf.compat.v1.Session(graph=tf.Graph(), config=_ONE_CORE) as session:
        graph = tf.compat.v1.saved_model.load(session, [tf.saved_model.SERVING], directory)
        pixels = _signature(session, graph, PIXELS)
        image_bytes = _signature(session, graph, SERVING_DEFAULT)
        decoding = _decoding(session)
        figures = {}
        for name, encode in ENCODINGS.items():
            files = np.array([encode(digit) for digit in digits], dtype=object)
            values = digits.astype(np.float32)
            plain, whole, decoded = _time((pixels, values), (image_bytes, files), (decoding, files))
            figures[name] = {"pixels": plain, "added": whole - plain, "decoding": decoded}
    click.echo(json.dumps(figures))


def _signature(session: tf.compat.v1.Session, graph: tf.compat.v1.MetaGraphDef, name: str) -> Ask:
    signature = graph.signature_def[name]
    (feed,) = signature.inputs.values()
    return _callable(session, feed.name, [output.name for output in signature.outputs.values()])


def _decoding(session: tf.compat.v1.Session) -> Ask:
    with session.graph.as_default():
        files = tf.compat.v1.placeholder(tf.string, [None])
        decoded = tf.map_fn(
            lambda file: tf.size(tf.io.decode_image(file, expand_animations=False)),
            files,
            fn_output_signature=tf.TensorSpec([], tf.int32),
        )
    return _callable(session, files.name, [decoded.name])


def _callable(session: tf.compat.v1.Session, feed: str, fetches: list[str]) -> Ask:
    ask: Ask = session._make_callable_from_options(CallableOptions(feed=[feed], fetch=fetches))
    return ask


def _time(*calls: tuple[Ask, NDArray[np.generic]]) -> list[float]:
    """Times calls in turn, so that whatever slows the machine slows all of them; milliseconds per image, medians."""
    rounds = [[_milliseconds(*call) for call in calls] for _ in range(_NUM_ROUNDS)]
    return [statistics.median(times) / _BATCH_SIZE for times in zip(*rounds, strict=True)]


def _milliseconds(ask: Ask, values: NDArray[np.generic]) -> float:
    start = time.perf_counter()
    ask(values)
    return 1000 * (time.perf_counter() - start)


if __name__ == "__main__":
    main()
