"""Files of predictions: what the reader accepts."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.evaluator.prediction_files import SCHEMA, MissingPredictionsError, prediction_file, read_predictions


def test_all_files_are_read_in_order(tmp_path: Path) -> None:
    for number in range(12):
        row = {"image_id": number, "label": "7", "prediction": "1", "confidence": 0.5}
        pq.write_table(pa.Table.from_pylist([row], SCHEMA), tmp_path / prediction_file(number, 12))
    (tmp_path / "predictions-00000-of-00012.parquet.0123").write_text("half of an attempt")
    table = read_predictions(str(tmp_path))
    assert table.schema == SCHEMA
    assert table["image_id"].to_pylist() == list(range(12))
    assert table["baseline_prediction"].null_count == 12


def test_an_evaluation_of_an_earlier_release_has_no_predictions(tmp_path: Path) -> None:
    with pytest.raises(MissingPredictionsError, match=f"^{tmp_path}: no predictions; earlier releases did not write"):
        read_predictions(str(tmp_path))


def test_damaged_predictions_are_refused(tmp_path: Path) -> None:
    (tmp_path / prediction_file(0, 1)).write_text("not Parquet")
    with pytest.raises(MissingPredictionsError, match=f"^{tmp_path}: the predictions are damaged .*; run again"):
        read_predictions(str(tmp_path))
