import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow as tf
from click.testing import CliRunner, Result

from pipeline.cli.main import main
from registry import signatures as contract
from registry.provenance import Origin
from registry.publishing import publish as registry_publish
from registry.signing import prepare_private_key

Publish = Callable[[int], None]


class Model(tf.Module):
    """Classifies every image as the last digit of its version, with low confidence."""

    def __init__(self, version: int) -> None:
        super().__init__()
        self.digit = version % 10

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=contract.IMAGE_BYTES_INPUT)])
    def answer(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        digit = tf.reshape(self.normalize(image_bytes)["image"], [-1, 28 * 28])[:, 0]
        digit = tf.cast(0 * digit, tf.int64) + self.digit
        return {
            contract.PROBABILITIES_OUTPUT: 0.25 * tf.one_hot(digit, 10) + 0.075,
            contract.DIGIT_OUTPUT: digit,
            contract.CONFIDENCE_OUTPUT: tf.fill(tf.shape(digit), 0.325),
            contract.STATUS_OUTPUT: tf.fill(tf.shape(digit), contract.STATUS_LOW_CONFIDENCE),
        }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=contract.IMAGE_BYTES_INPUT)])
    def normalize(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        images = tf.map_fn(
            lambda encoded: tf.ensure_shape(tf.image.decode_png(encoded, 1), (28, 28, 1)),
            image_bytes,
            fn_output_signature=tf.uint8,
        )
        return {contract.NORMALIZED_IMAGE_OUTPUT: tf.cast(images[..., 0], tf.float32)}


@pytest.fixture(autouse=True)
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two images, one with ink in its first row, and a text."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DIGITS_SIGNING__ALLOW_UNVERIFIED", "true")
    folder = Path("images")
    folder.mkdir()
    page = tf.zeros((28, 28, 1), tf.uint8)
    (folder / "a.png").write_bytes(tf.io.encode_png(page).numpy())
    (folder / "longer.png").write_bytes(tf.io.encode_png(tf.concat([page[:1] + 255, page[1:]], axis=0)).numpy())
    (folder / "text.png").write_text("seven")
    return folder


@pytest.fixture
def publish(tmp_path: Path) -> Publish:
    def write(version: int, with_normalize: bool = True) -> None:
        model = Model(version)
        signatures = {contract.SERVING_DEFAULT: model.answer}
        if with_normalize:
            signatures[contract.NORMALIZE] = model.normalize
        tf.saved_model.save(model, f"workspace/serving/digits/{version}", signatures=signatures)

    return write


def predict(*arguments: str, given: bytes | None = None) -> Result:
    return CliRunner().invoke(main, ["predict", *arguments], input=given)


def test_each_image_has_a_line(publish: Publish) -> None:
    publish(17)
    publish(18)
    result = predict("images/longer.png", "images/a.png")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "images/longer.png  8   32.5 %  unsure\nimages/a.png       8   32.5 %  unsure\n"
    assert predict("images/a.png", "--model-version", "17").stdout == "images/a.png  7   32.5 %  unsure\n"


def test_a_wrong_image_does_not_affect_the_others(publish: Publish) -> None:
    publish(17)
    result = predict("images")
    assert result.exit_code == 1
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["images/a.png", "images/longer.png"]
    assert result.stderr.startswith("Error: images/text.png: this is not an image; expected PNG")


def test_probabilities_and_a_drawing(publish: Publish) -> None:
    publish(17)
    line, probabilities, edge, first, second, *_, last = predict(
        "images/longer.png", "--probabilities", "--show"
    ).stdout.splitlines()
    assert line.startswith("images/longer.png  7")
    assert probabilities.startswith("0: 7.5 %   1: 7.5 %")
    assert "7: 32.5 %" in probabilities
    assert (edge[0], first, second, last[0]) == ("┌", f"│{'█' * 56}│", f"│{' ' * 56}│", "└")


def test_json(publish: Publish) -> None:
    publish(17)
    answers = json.loads(predict("images", "--json").stdout)
    assert answers[0] == {
        "source": "images/a.png",
        "digit": 7,
        "confidence": pytest.approx(0.325),
        "status": "low_confidence",
        "model_version": 17,
    }
    assert answers[2].keys() == {"source", "error"}
    (answer,) = json.loads(predict("images/a.png", "--json", "--probabilities").stdout)
    assert answer["probabilities"] == pytest.approx([0.075] * 7 + [0.325] + [0.075] * 2)


def test_standard_input(publish: Publish, images: Path) -> None:
    publish(17)
    result = predict("-", given=(images / "a.png").read_bytes())
    assert (result.exit_code, result.stdout) == (0, "-  7   32.5 %  unsure\n")


def test_an_output_file(publish: Publish) -> None:
    publish(17)
    result = predict("images", "--output", "results.csv")
    assert (result.exit_code, result.stdout) == (1, "results.csv: 3 rows, 1 without an answer\n")
    with Path("results.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["source"], row["digit"]) for row in rows] == [
        ("images/a.png", "7"),
        ("images/longer.png", "7"),
        ("images/text.png", ""),
    ]


def test_libraries_do_not_write_to_the_terminal(publish: Publish) -> None:
    publish(17)
    Path("cut.png").write_bytes(Path("images/a.png").read_bytes()[:60])
    command = [sys.executable, "-m", "pipeline.cli.main", "predict", "images/a.png", "cut.png"]
    environment = {"PYTHONPATH": str(Path(__file__).parents[3]), "DIGITS_SIGNING__ALLOW_UNVERIFIED": "true"}
    process = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (process.returncode, process.stdout) == (1, "images/a.png  7   32.5 %  unsure\n")
    assert len(process.stderr.splitlines()) == 1
    assert process.stderr.startswith("Error: cut.png: ")


def test_a_model_without_normalized_images(publish: Callable[..., None]) -> None:
    publish(17, with_normalize=False)
    result = predict("images/a.png", "--show")
    assert result.exit_code == 1
    assert "Error: the model does not return normalized images (" in result.stderr
    assert "push a new version with `digits run`." in result.stderr


def test_no_version_has_been_pushed(tmp_path: Path) -> None:
    result = predict("images/a.png")
    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: {tmp_path}/workspace/serving/digits: no version of digits has been pushed there yet; push one with "
        "`digits run`.\n"
    )


def test_a_missing_version(publish: Publish) -> None:
    publish(17)
    result = predict("images/a.png", "--model-version", "3")
    assert result.exit_code == 2
    assert result.stderr == "Error: 3: no such version of digits; there are 17.\n"


def test_a_server_that_cannot_be_reached() -> None:
    result = predict("images/a.png", "--url", "http://127.0.0.1:9")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: http://127.0.0.1:9 cannot be reached; start a server with `digits serve`")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.png"], "none.png: no such file or folder."),
        (["--url", "http://a", "--grpc", "a:1", "images"], "--url and --grpc name two servers"),
        (["--url", "localhost:8501", "images"], "'localhost:8501': expected http://HOST:PORT"),
        (["--grpc", "http://localhost:8500", "images"], "expected HOST:PORT without http://"),
        (["--grpc", "localhost", "images"], "'localhost': expected HOST:PORT"),
        (["--show", "--json", "images"], "--show draws on the terminal"),
        (["--json", "--output", "a.csv", "images"], "--json prints, and --output writes a CSV file"),
        (["--output", "none/a.csv", "images"], "none/a.csv: there is no folder none."),
        (["examples.gz"], "examples.gz: a TFRecord contains many images; write the predictions to a file"),
    ],
)
def test_wrong_use(arguments: list[str], message: str) -> None:
    Path("examples.gz").touch()
    result = predict(*arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())


def test_only_verified_versions_are_used(
    publish: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, images: Path
) -> None:
    monkeypatch.delenv("DIGITS_SIGNING__ALLOW_UNVERIFIED")
    publish(17)
    dropped = tmp_path / "workspace" / "serving" / "digits" / "17"
    refused = predict("images/a.png")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert f"Error: {dropped}: has no provenance, so no pipeline has pushed it" in refused.stderr
    # A signed version that is older than the dropped one.
    key = prepare_private_key(
        tmp_path / "workspace" / "development-signing-key.pem", None, is_development=True, say=print
    )
    dropped.rename(tmp_path / "model")
    version = registry_publish(tmp_path / "model", dropped.parent, {}, Origin(), key)
    shutil.copytree(tmp_path / "model", dropped.parent / str(version.number + 1))
    used = predict("images/a.png")
    assert (used.exit_code, used.stdout) == (0, "images/a.png  7   32.5 %  unsure\n")
    newest = dropped.with_name(str(version.number + 1))
    assert f"Warning: using version {version.number} instead: {newest}: has no" in used.stderr
    assert predict("images/a.png", "--model-version", str(version.number + 1)).exit_code == 1
