"""Folders that count as SavedModels, for tests that do not load them."""

from pathlib import Path


def make_model(directory: Path, weights: str) -> Path:
    """Writes a folder with the files of a SavedModel; `weights` is the content of its variables."""
    (directory / "variables").mkdir(parents=True)
    (directory / "saved_model.pb").write_bytes(b"graph")
    (directory / "variables" / "variables.index").write_text(weights)
    return directory


def weights_of(directory: Path) -> str:
    """Returns the content of the variables."""
    return (directory / "variables" / "variables.index").read_text()
