"""The examples of docs/own-images.md, from `digits new` to answers with class names."""

import base64
import csv
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import requests
import tensorflow as tf
import yaml
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

from tests.support.documentation import read_page
from tests.support.own_images import LETTERS, SHAPES, write_letters, write_shapes
from tests.support.serve_process import ServeProcess, digits_serve
from tests.support.web_page import Page, running_browser

PROJECT_ROOT = Path(__file__).parents[2]
CLASSES = {"letters": LETTERS, "shapes": SHAPES}


@dataclass(frozen=True)
class Example:
    """An example whose commands have run in a folder, with the output of the last one."""

    name: str
    folder: Path
    predicted: str

    @property
    def images(self) -> dict[str, Path]:
        """An image of each class."""
        classes = CLASSES[self.name]
        return {label: sorted((self.folder / "examples" / self.name / label).iterdir())[0] for label in classes}


# A smaller network learns these images as well.
SMALL = {"DIGITS_TRAINER__WIDTH": "32"}


def digits(folder: Path, arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a command as the page has it."""
    process = subprocess.run(
        [sys.executable, "-m", "pipeline.cli.main", *shlex.split(arguments)],
        cwd=folder,
        env={**os.environ, **SMALL, "PYTHONPATH": str(PROJECT_ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, f"digits {arguments}: {process.stdout[-4000:]}{process.stderr[-4000:]}"
    return process


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    write_letters(folder / "examples" / "letters")
    write_shapes(folder / "examples" / "shapes")
    return folder


@pytest.fixture(scope="module", params=list(CLASSES))
def example(request: pytest.FixtureRequest, folder: Path) -> Example:
    texts = [command.text for command in read_page("docs/own-images.md").commands]
    commands = [text.removeprefix("digits ") for text in texts if request.param in text]
    assert [command.split()[0] for command in commands] == ["new", "run", "predict"]
    *_, last = [digits(folder, command) for command in commands]
    return Example(request.param, folder, last.stdout)


@pytest.fixture(scope="module")
def server(example: Example) -> Iterator[ServeProcess]:
    with digits_serve(example.folder / "workspace") as server:
        yield server


def test_the_commands_of_the_page_answer_with_class_names(example: Example) -> None:
    expected = {"letters": ["A", "Z"], "shapes": ["circle", "square"]}[example.name]
    assert [line.split()[1] for line in example.predicted.splitlines()] == expected


def test_the_command_line_knows_most_images(example: Example) -> None:
    images = [str(image) for label in CLASSES[example.name] for image in _some(example, label)]
    output = example.folder / f"{example.name}.csv"
    digits(example.folder, f"predict --config {example.name}/digits.toml --output {output} {shlex.join(images)}")
    with output.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    right = [row["label"] == Path(row["source"]).parent.name for row in rows]
    assert len(rows) == len(images)
    assert sum(right) > 0.9 * len(rows)


def test_rest(example: Example, server: ServeProcess) -> None:
    images = example.images
    url = f"{server.address('REST').partition('/v1')[0]}/v1/models/{example.name}-smoke:predict"
    instances = [{"b64": base64.b64encode(image.read_bytes()).decode()} for image in images.values()]
    answers = requests.post(url, json={"instances": instances}, timeout=60).json()["predictions"]
    assert [answer["classes"] for answer in answers] == [list(CLASSES[example.name])] * len(images)
    right = [answer["label"] == label for answer, label in zip(answers, images, strict=True)]
    assert sum(right) > 0.9 * len(images) - 1


def test_grpc(example: Example, server: ServeProcess) -> None:
    images = example.images
    request = PredictRequest()
    request.model_spec.name = f"{example.name}-smoke"
    contents = [image.read_bytes() for image in images.values()]
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(contents))
    with grpc.insecure_channel(server.address("gRPC")) as channel:
        answer = PredictionServiceStub(channel).Predict(request, timeout=60)
    labels = [label.decode() for label in answer.outputs["label"].string_val]
    right = [found == label for found, label in zip(labels, images, strict=True)]
    assert sum(right) > 0.9 * len(images) - 1


def test_the_page_in_a_browser(example: Example, server: ServeProcess) -> None:
    images = dict(list(example.images.items())[:5])
    with running_browser() as browser:
        page = Page(browser, server.address("Web page"))
        right = []
        for label, image in images.items():
            page.open(f"?model={example.name}-smoke")
            page.wait_for_model()
            page.element("picture").send_keys(str(image))
            right.append(f" “{label}”." in page.last_answer())
        assert page.text("others") == {"letters": "and 16 more classes", "shapes": ""}[example.name]
        assert page.console_errors() == []
    assert sum(right) >= len(right) - 1


def test_the_pipeline_compiles_for_kubeflow(example: Example) -> None:
    file = example.folder / f"{example.name}.yaml"
    digits(example.folder, f"compile --config {example.name}/digits.toml --output {file}")
    spec, _ = yaml.safe_load_all(file.read_text(encoding="utf-8"))
    assert spec["pipelineInfo"]["name"] == example.name
    parameters = spec["root"]["inputDefinitions"]["parameters"]
    assert parameters["data_uri"]["defaultValue"] == str(example.folder / "examples" / example.name)


def _some(example: Example, label: str) -> list[Path]:
    return sorted((example.folder / "examples" / example.name / label).iterdir())[:10]
