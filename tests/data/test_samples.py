import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

SAMPLES = Path(__file__).parents[2] / "data" / "samples"
IMAGES = sorted(path for path in SAMPLES.iterdir() if path.suffix in {".png", ".jpg", ".gif", ".bmp"})


def test_strokes_have_all_digits_by_two_writers() -> None:
    drawings = json.loads((SAMPLES / "strokes.json").read_text(encoding="utf-8"))
    assert {(drawing["digit"], drawing["variant"]) for drawing in drawings} == {
        (digit, variant) for digit in range(10) for variant in "ab"
    }
    for stroke in (stroke for drawing in drawings for stroke in drawing["strokes"]):
        assert 8 <= len(stroke) <= 25
        points = np.array(stroke)
        assert 0 < points.min() < points.max() < 1
        assert np.linalg.norm(np.diff(points, axis=0), axis=1).max() < 0.15


def test_the_script_draws_the_images_of_every_digit_and_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("draw_samples", SAMPLES / "draw_samples.py")
    assert spec
    assert spec.loader
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "strokes.json").write_bytes((SAMPLES / "strokes.json").read_bytes())
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    module.main()
    assert {path.name[0] for path in IMAGES} == set("0123456789")
    assert {path.suffix for path in IMAGES} == {".png", ".jpg", ".gif", ".bmp"}
    assert sorted(path.name for path in tmp_path.glob("*.*") if path.suffix != ".json") == [
        path.name for path in IMAGES
    ]
    for path in IMAGES:
        with Image.open(path) as kept, Image.open(tmp_path / path.name) as drawn:
            assert (kept.mode, kept.size) == (drawn.mode, drawn.size)
            # JPEG encoders differ slightly.
            difference = np.abs(np.asarray(kept.convert("RGBA"), float) - np.asarray(drawn.convert("RGBA"), float))
            assert difference.mean() < 1, path.name
