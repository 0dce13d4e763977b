import csv
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from serving.client.bulk import Summary, predict_to_csv
from serving.client.client import ClientError
from serving.client.inputs import Inputs
from serving.client.local_client import LocalClient
from tests.support.flink_cluster import EngineRun

pytestmark = pytest.mark.flink


@pytest.fixture(scope="session")
def inputs(direct: EngineRun, tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """An image, a file that is not an image, and the records of two splits."""
    folder = tmp_path_factory.mktemp("inputs")
    images = [folder / "blank.png", folder / "none.png"]
    images[0].write_bytes(tf.io.encode_png(tf.zeros((28, 28, 1), tf.uint8)).numpy())
    images[1].write_text("text")
    examples = direct.folder / "MnistExampleGen" / "examples"
    records = sorted(path for split in ("eval", "test") for path in (examples / f"Split-{split}").iterdir())
    return Inputs(tuple(map(str, images)), tuple(map(str, records)))


def predict(inputs: Inputs, output: Path, direct: EngineRun, run: EngineRun) -> Summary:
    version = output.parent / "1"
    if not version.exists():
        version.symlink_to(direct.folder / "Trainer" / "model" / "Format-Serving")
    open_client = partial(LocalClient, version)
    return predict_to_csv(
        inputs,
        output,
        open_client,
        with_probabilities=True,
        beam_arguments=run.beam_arguments,
        on_progress=lambda rows: None,
    )


def read_cells(path: Path) -> tuple[list[list[str]], list[list[float]]]:
    """Returns the text and the numbers of each row: confidence and probabilities."""
    texts, numbers = [], []
    for row in csv.DictReader(path.read_text().splitlines()):
        names = {name for name in row if name == "confidence" or name.startswith("p_")}
        texts.append([cell for name, cell in row.items() if name not in names])
        numbers.append([float(row[name] or "nan") for name in sorted(names)])
    return texts, numbers


def test_predictions_are_equal_and_in_order(
    direct: EngineRun, flink: EngineRun, inputs: Inputs, tmp_path: Path
) -> None:
    ours, theirs = tmp_path / "direct.csv", tmp_path / "flink.csv"
    summary = predict(inputs, ours, direct, direct)
    assert summary == Summary(num_results=1252, num_errors=1)
    assert predict(inputs, theirs, direct, flink) == summary
    our_texts, our_numbers = read_cells(ours)
    their_texts, their_numbers = read_cells(theirs)
    assert their_texts == our_texts
    # The engines form other batches, which changes how the last of the six decimals is rounded.
    np.testing.assert_allclose(their_numbers, our_numbers, rtol=0, atol=2e-6)


def test_damaged_file_is_reported_in_one_line(
    direct: EngineRun, flink: EngineRun, inputs: Inputs, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged.gz"
    damaged.write_bytes(Path(inputs.record_files[0]).read_bytes()[:-100])
    with pytest.raises(ClientError, match=r"damaged\.gz: damaged after \d+ record\(s\), or not a TFRecord: [^\n]*$"):
        predict(Inputs((), (str(damaged),)), tmp_path / "answers.csv", direct, flink)
    assert not (tmp_path / "answers.csv").exists()
