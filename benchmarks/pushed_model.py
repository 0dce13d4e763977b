"""Asks a pushed model for the digits of MNIST's test images, in a process that knows nothing of its training.

What matters of a pipeline is the model at the end of it, so the accuracy that is compared is that of the pushed
files. There are two ways to load them: the one of TensorFlow 2 in Python, and the session-based one that TF Serving,
C++, Java and Go have. A model may work in the first and fail in the second.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import click
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from benchmarks.mnist_examples import load_mnist, our_example, tfx_example
from registry.signatures import EXAMPLES

Pipeline = Literal["tfx_example", "ours"]
Loader = Literal["python", "session"]
Predict = Callable[[list[bytes]], NDArray[np.float32]]

_BATCH_SIZE = 1000


@dataclass(frozen=True)
class _Contract:
    """How a model is asked.

    Attributes:
        encode: Makes a serialized tf.Example of an image uint8[28,28].
        signature: Name of the signature that takes tf.Examples as `examples`, string[n].
        output: Name of its output that holds a score per digit, float32[n,10].
    """

    encode: Callable[[NDArray[np.uint8]], bytes]
    signature: str
    output: str


_CONTRACTS: dict[Pipeline, _Contract] = {
    # Its parser drops the label.
    "tfx_example": _Contract(lambda image: tfx_example(image, label=0), "serving_default", "output_0"),
    "ours": _Contract(our_example, EXAMPLES, "probabilities"),
}


@click.command()
@click.argument("pipeline", type=click.Choice(list(_CONTRACTS)))
@click.argument("loader", type=click.Choice(["python", "session"]))
@click.argument("directory", type=click.Path(exists=True, file_okay=False))
def main(pipeline: Pipeline, loader: Loader, directory: str) -> None:
    """Print the test accuracy, 0 to 1, of the model version in DIRECTORY, or why LOADER cannot run it, as JSON."""
    load = {"python": _load_in_python, "session": _load_in_session}[loader]
    contract = _CONTRACTS[pipeline]
    try:
        result: dict[str, float | str] = {"accuracy": _accuracy(load(directory, contract), contract)}
    except tf.errors.OpError as error:
        # Its first line only says that there was an error.
        result = {"error": " ".join(error.message.split())}
    click.echo(json.dumps(result))


def _accuracy(predict: Predict, contract: _Contract) -> float:
    images, labels = load_mnist("test")
    requests = [contract.encode(image) for image in images]
    batches = [requests[start : start + _BATCH_SIZE] for start in range(0, len(requests), _BATCH_SIZE)]
    scores = np.concatenate([predict(batch) for batch in batches])
    return float(np.mean(scores.argmax(axis=-1) == labels))


def _load_in_python(directory: str, contract: _Contract) -> Predict:
    model = tf.saved_model.load(directory)
    # Not the signature alone: the model owns the variables, and they die with it.
    return lambda examples: model.signatures[contract.signature](tf.constant(examples))[contract.output].numpy()


def _load_in_session(directory: str, contract: _Contract) -> Predict:
    session = tf.compat.v1.Session(graph=tf.Graph())
    meta_graph = tf.compat.v1.saved_model.load(session, [tf.saved_model.SERVING], directory)
    signature = meta_graph.signature_def[contract.signature]
    request, answer = signature.inputs["examples"].name, signature.outputs[contract.output].name
    return lambda examples: session.run(answer, {request: examples})


if __name__ == "__main__":
    main()
