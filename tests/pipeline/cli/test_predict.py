import csv
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest
import tensorflow as tf
from click.testing import CliRunner, Result

from pipeline.cli.main import main
from registry import signatures as contract
from registry.provenance import Origin
from registry.publishing import publish as registry_publish
from registry.signing import prepare_private_key
from serving.client.bulk import Summary
from serving.client.client import ClientError

Publish = Callable[..., None]

DIGITS = tuple("0123456789")


class Model(tf.Module):
    """Classifies every image as the class whose index is its version modulo the number of classes, unsure."""

    def __init__(self, version: int, classes: Sequence[str], image_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.index = version % len(classes)
        self.classes = classes
        self.image_shape = image_shape

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=contract.IMAGE_BYTES_INPUT)])
    def answer(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        images = self.normalize(image_bytes)["image"]
        index = tf.cast(0 * tf.reduce_sum(images, axis=range(1, images.shape.rank)), tf.int64) + self.index
        rest = 0.675 / (len(self.classes) - 1)
        return {
            contract.LABEL_OUTPUT: tf.gather(tf.constant(self.classes), index),
            contract.CLASSES_OUTPUT: tf.tile([self.classes], [tf.size(index), 1]),
            contract.PROBABILITIES_OUTPUT: tf.one_hot(index, len(self.classes), 0.325, rest),
            contract.CONFIDENCE_OUTPUT: tf.fill(tf.shape(index), 0.325),
            contract.STATUS_OUTPUT: tf.fill(tf.shape(index), contract.STATUS_UNSURE),
        }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=contract.IMAGE_BYTES_INPUT)])
    def normalize(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        is_color = len(self.image_shape) == 3
        images = tf.map_fn(
            lambda encoded: tf.image.decode_png(encoded, 3 if is_color else 1),
            image_bytes,
            fn_output_signature=tf.TensorSpec([None, None, None], tf.uint8),
        )
        images = tf.cast(images if is_color else images[..., 0], tf.float32)
        return {contract.NORMALIZED_IMAGE_OUTPUT: tf.ensure_shape(images, [None, *self.image_shape])}


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
    def write(
        version: int,
        classes: Sequence[str] = DIGITS,
        image_shape: tuple[int, ...] = (28, 28),
        name: str = "digits",
        with_normalize: bool = True,
    ) -> None:
        model = Model(version, classes, image_shape)
        signatures = {contract.SERVING_DEFAULT: model.answer}
        if with_normalize:
            signatures[contract.NORMALIZE] = model.normalize
        tf.saved_model.save(model, f"workspace/serving/{name}/{version}", signatures=signatures)

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


def test_files_of_a_folder_that_are_no_images_are_counted(publish: Publish, images: Path) -> None:
    publish(17)
    (images / "text.png").rename(images / "README.txt")
    result = predict("images")
    assert (result.exit_code, len(result.stdout.splitlines())) == (0, 2)
    assert result.stderr == "Skipped 1 file(s) that are not images.\n"


def test_probabilities_and_a_drawing(publish: Publish, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    publish(17)
    line, probabilities, more, edge, first, second, *_, last = predict(
        "images/longer.png", "--probabilities", "--show"
    ).stdout.splitlines()
    assert line.startswith("images/longer.png  7")
    assert probabilities.startswith("0: 7.5 %    1: 7.5 %   2: 7.5 %")
    assert more == "7: 32.5 %   8: 7.5 %   9: 7.5 %"
    assert (edge[0], first, second, last[0]) == ("┌", f"│{'█' * 56}│", f"│{' ' * 56}│", "└")


def test_classes_of_any_number_and_name(publish: Publish) -> None:
    classes = ("A", "Österreich", "日本", *map(str, range(23)))
    publish(26, classes)
    publish(28, classes)
    Path("images/longer.png").rename("images/é日.png")
    output = predict("images/é日.png", "images/a.png").stdout
    assert output == "images/é日.png  日本         32.5 %  unsure\nimages/a.png    日本         32.5 %  unsure\n"
    output = predict("images/a.png", "--probabilities", "--model-version", "26").stdout
    shares = re.split(r"\s{2,}|\n", output.strip().partition("unsure\n")[2])
    assert shares[:4] == ["A: 32.5 %", "Österreich: 2.7 %", "日本: 2.7 %", "0: 2.7 %"]
    assert len(shares) == 26


@pytest.mark.parametrize(
    ("terminal", "image_shape", "size"),
    [(200, (60, 40, 3), (40, 60)), (82, (60, 40, 3), (27, 40)), (82, (28, 300), (40, 4)), (3, (8, 8), (1, 1))],
)
def test_a_drawing_of_an_image_of_any_size_fits_on_the_terminal(
    publish: Publish,
    monkeypatch: pytest.MonkeyPatch,
    terminal: int,
    image_shape: tuple[int, ...],
    size: tuple[int, int],
) -> None:
    monkeypatch.setenv("COLUMNS", str(terminal))
    publish(1, ("cat", "dog", "fish"), image_shape)
    # Green has a share of 0.587 of the luminance.
    color = tf.constant([0, 255, 0] if len(image_shape) == 3 else [150], tf.uint8)
    Path("image.png").write_bytes(tf.io.encode_png(tf.broadcast_to(color, (*image_shape[:2], color.shape[0]))).numpy())
    _, edge, *lines, _ = predict("image.png", "--show").stdout.splitlines()
    assert (len(edge) - 2, len(lines)) == (2 * size[0], size[1])
    assert set(lines) == {f"│{'▒' * 2 * size[0]}│"}


def test_json(publish: Publish) -> None:
    publish(17, ("cat", "dog", "日本"))
    answers = json.loads(predict("images", "--json").stdout)
    assert answers[0] == {
        "source": "images/a.png",
        "label": "日本",
        "confidence": pytest.approx(0.325),
        "status": "unsure",
        "model_version": 17,
    }
    assert answers[2].keys() == {"source", "error"}
    (answer,) = json.loads(predict("images/a.png", "--json", "--probabilities").stdout)
    assert answer["probabilities"] == pytest.approx({"cat": 0.3375, "dog": 0.3375, "日本": 0.325})


def test_a_file_name_that_is_not_utf_8(publish: Publish) -> None:
    publish(17)
    name = "\udcff.png"
    Path("images/a.png").rename(name)
    assert predict(name).stdout == "\ufffd.png  7   32.5 %  unsure\n"
    assert json.loads(predict(name, "--json").stdout)[0]["source"] == name


def test_standard_input(publish: Publish, images: Path) -> None:
    publish(17)
    result = predict("-", given=(images / "a.png").read_bytes())
    assert (result.exit_code, result.stdout) == (0, "-  7   32.5 %  unsure\n")


def test_an_output_file(publish: Publish) -> None:
    publish(25, tuple("ABCDEFGHIJKLMNOPQRSTUVWXYŽ"))
    result = predict("images", "--probabilities", "--output", "results.csv")
    assert (result.exit_code, result.stdout) == (1, "results.csv: 3 rows, 1 without an answer\n")
    with Path("results.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["source"], row["label"], row["p_A"], row["p_Ž"]) for row in rows] == [
        ("images/a.png", "Ž", "0.027000", "0.325000"),
        ("images/longer.png", "Ž", "0.027000", "0.325000"),
        ("images/text.png", "", "", ""),
    ]
    assert {len(row) for row in rows} == {6 + 26}


def test_libraries_do_not_write_to_the_terminal(publish: Publish) -> None:
    publish(17)
    Path("cut.png").write_bytes(Path("images/a.png").read_bytes()[:60])
    command = [sys.executable, "-m", "pipeline.cli.main", "predict", "images/a.png", "cut.png"]
    environment = {"PYTHONPATH": str(Path(__file__).parents[3]), "DIGITS_SIGNING__ALLOW_UNVERIFIED": "true"}
    process = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (process.returncode, process.stdout) == (1, "images/a.png  7   32.5 %  unsure\n")
    assert len(process.stderr.splitlines()) == 1
    assert process.stderr.startswith("Error: cut.png: ")


def test_the_progress_does_not_show_what_libraries_log(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    streams = sys.stdout, sys.stderr

    def predict_to_csv(*_: Any, on_progress: Callable[[int], None], **__: Any) -> Summary:
        on_progress(2)
        # What they log goes to these streams.
        assert (sys.stdout, sys.stderr) == streams
        return Summary(2, 0)

    monkeypatch.setattr("serving.client.bulk.predict_to_csv", predict_to_csv)
    # rich shows the progress although there is no terminal.
    monkeypatch.setenv("FORCE_COLOR", "1")
    arguments = ["predict", "images/a.png", "--url", "http://localhost:9", "--output", "results.csv"]
    main(arguments, standalone_mode=False)
    output = capfd.readouterr()
    assert output.out == "results.csv: 2 rows, 0 without an answer\n"
    assert "2 predicted" in output.err


def test_a_model_without_normalized_images(publish: Publish) -> None:
    publish(17, with_normalize=False)
    result = predict("images/a.png", "--show")
    assert result.exit_code == 1
    assert "Error: the model does not return normalized images (" in result.stderr
    assert "push a new version with `digits run`." in result.stderr


def test_no_version_has_been_pushed(tmp_path: Path, publish: Publish) -> None:
    nothing = (
        f"Error: {tmp_path}/workspace/serving/digits: no version of digits has been pushed there yet; push one with "
        "`digits run`"
    )
    result = predict("images/a.png")
    assert (result.exit_code, result.stderr) == (1, f"{nothing}.\n")
    publish(17, name="letters")
    result = predict("images/a.png")
    assert (result.exit_code, result.stderr) == (1, f"{nothing}, or use another model: `--model letters`.\n")
    assert predict("images/a.png", "--model", "letters").exit_code == 0


def test_the_model_of_the_smoke_profile_takes_the_place_of_one_that_was_never_pushed(publish: Publish) -> None:
    publish(17, name="digits-smoke")
    result = predict("images/a.png")
    note = "digits has no version yet; using digits-smoke, pushed by the smoke profile.\n"
    assert (result.exit_code, result.stderr) == (0, note)
    publish(18)
    assert predict("images/a.png").stderr == ""


def test_a_missing_version(publish: Publish) -> None:
    publish(17)
    result = predict("images/a.png", "--model-version", "3")
    assert result.exit_code == 2
    assert result.stderr == "Error: 3: no such version of digits; there is only 17.\n"


def test_a_server_that_cannot_be_reached() -> None:
    result = predict("images/a.png", "--url", "http://127.0.0.1:9")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: http://127.0.0.1:9 cannot be reached; start a server with `digits serve`")


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        (["http://a:8501"], ("http://a:8501", "digits")),
        (["http://a:8501/v1/models/letters"], ("http://a:8501", "letters")),
        (["https://a/gate/v1/models/letters:predict"], ("https://a/gate", "letters")),
        (["http://a/v1/models/letters/", "--model", "shapes"], ("http://a", "shapes")),
    ],
)
def test_the_url_may_name_the_model_as_digits_serve_prints_it(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], asked: tuple[str, str]
) -> None:
    opened = []

    def open_client(url: str, model: str, version: int | None) -> NoReturn:
        opened.append((url, model))
        raise ClientError("enough")

    monkeypatch.setattr("serving.client.rest_client.RestClient", open_client)
    assert predict("images/a.png", "--url", *arguments).exit_code == 1
    assert opened == [asked]


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
