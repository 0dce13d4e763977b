"""What unit tests and whole runs share: a model asked the way TF Serving asks it."""

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

INPUTS = {"serving_default": "image_bytes", "pixels": "image", "examples": "examples"}

# TF Serving loads graphs into sessions; a fresh process has nothing that could stand in for what an export lacks.
_SESSION_SCRIPT = """
    import json, sys
    import numpy as np
    import tensorflow as tf
    directory, requests, inputs = sys.argv[1], np.load(sys.argv[2]), json.loads(sys.argv[3])
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        graph = tf.compat.v1.saved_model.load(session, ["serve"], directory)
        answers = {}
        for name, key in inputs.items():
            signature = graph.signature_def[name]
            request = requests[name]
            request = [bytes.fromhex(text) for text in request] if request.dtype.kind == "U" else request
            probabilities = signature.outputs["probabilities"].name
            answers[name] = session.run(probabilities, {signature.inputs[key].name: request}).tolist()
    print(json.dumps(answers))
"""

Requests = dict[str, Any]
Answers = dict[str, np.ndarray]


@pytest.fixture(scope="session", autouse=True)
def no_settings_of_the_environment() -> Iterator[None]:
    """What somebody has set for their own runs is no part of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("DIGITS_")]:
            patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def make_requests() -> Callable[[np.ndarray], Requests]:
    """Puts images, uint8[n,28,28], into the form in which each signature takes them."""

    def make(images: np.ndarray) -> Requests:
        features = [tf.train.Feature(int64_list=tf.train.Int64List(value=image.ravel())) for image in images]
        return {
            "serving_default": [tf.io.encode_png(image[..., np.newaxis]).numpy() for image in images],
            "pixels": images.astype(np.float32),
            "examples": [
                tf.train.Example(features=tf.train.Features(feature={"image": feature})).SerializeToString()
                for feature in features
            ],
        }

    return make


@pytest.fixture(scope="session")
def eager_answers() -> Callable[[Path, Requests], Answers]:
    """Asks every signature of a SavedModel through `tf.saved_model.load`."""

    def ask(directory: Path, requests: Requests) -> Answers:
        signatures = tf.saved_model.load(str(directory)).signatures
        assert set(signatures) == set(INPUTS)
        return {
            name: signatures[name](**{key: tf.constant(requests[name])})["probabilities"].numpy()
            for name, key in INPUTS.items()
        }

    return ask


@pytest.fixture(scope="session")
def session_answers(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path, Requests], Answers]:
    """Asks every signature of a SavedModel through the session-based loader, in a fresh process."""

    def ask(directory: Path, requests: Requests) -> Answers:
        file = tmp_path_factory.mktemp("requests") / "requests.npz"
        arrays: dict[str, Any] = {
            name: [item.hex() for item in request] if isinstance(request, list) else request
            for name, request in requests.items()
        }
        np.savez(file, **arrays)
        command = [
            sys.executable,
            "-c",
            textwrap.dedent(_SESSION_SCRIPT),
            str(directory),
            str(file),
            json.dumps(INPUTS),
        ]
        process = subprocess.run(command, capture_output=True, text=True, check=False)
        assert process.returncode == 0, process.stderr
        answers = json.loads(process.stdout.splitlines()[-1])
        return {name: np.array(probabilities) for name, probabilities in answers.items()}

    return ask
