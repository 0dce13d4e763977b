"""docs/settings.md lists all settings as they are."""

from docs.settings_reference import PAGE, render
from pipeline.settings.settings import load_settings


def test_the_page_is_that_of_the_definitions() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(), "run `.venv/bin/python -m docs.settings_reference`"


def test_the_page_has_defaults_ranges_and_profiles() -> None:
    page = render()
    epochs = load_settings({"profile": "smoke"}).trainer.epochs
    assert f"| `epochs` | {load_settings({}).trainer.epochs} (smoke: {epochs}, fast: 2) | ≥ 1 | Maximum passes" in page
    assert "| `preparation` | `ink` | `ink`, `resize` |" in page
    assert "## `kubeflow.resources.STEP`\n" in page
