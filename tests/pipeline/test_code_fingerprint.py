import sys
from pathlib import Path

import pytest

from pipeline.code_fingerprint import code_fingerprints

SOURCES = {
    "__init__.py": "",
    "features.py": "SIZE = 28\n",
    "model.py": "from steps_under_test import features\n\ndef build():\n    return features.SIZE\n",
    "training.py": "def run_fn():\n    from steps_under_test.model import build\n    return build()\n",
    "preprocessing.py": "from steps_under_test.features import SIZE\n",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "steps_under_test"
    folder.mkdir()
    for name, source in SOURCES.items():
        (folder / name).write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "steps_under_test", raising=False)
    return folder


def fingerprints() -> dict[str, str]:
    return code_fingerprints({step: f"steps_under_test.{step}" for step in ("training", "preprocessing")})


@pytest.mark.parametrize(
    ("edited", "affected"),
    [
        ("training.py", {"training"}),
        ("model.py", {"training"}),
        ("preprocessing.py", {"preprocessing"}),
        ("features.py", {"training", "preprocessing"}),
    ],
)
def test_an_edit_changes_the_steps_that_use_it(package: Path, edited: str, affected: set[str]) -> None:
    before = fingerprints()
    (package / edited).write_text(SOURCES[edited] + "CHANGED = 1\n")
    after = fingerprints()
    assert {step for step in before if before[step] != after[step]} == affected


def test_a_template_belongs_to_the_module_with_its_name(package: Path) -> None:
    before = fingerprints()
    (package / "model.html.jinja").write_text("{{ model }}")
    after = fingerprints()
    assert {step for step in before if before[step] != after[step]} == {"training"}


def test_comments_and_layout_do_not_count(package: Path) -> None:
    before = fingerprints()
    (package / "features.py").write_text("# The size.\nSIZE = (\n    28\n)\n")
    assert fingerprints() == before
