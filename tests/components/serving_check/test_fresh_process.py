import subprocess
import sys
from pathlib import Path

import pytest

from components.serving_check.probe import Plan, read_report, write_plan
from components.serving_check.requests import Sample


@pytest.mark.parametrize("legacy", ["0", "1"])
def test_it_loads_only_tensorflow(
    good_export: Path, sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, legacy: str
) -> None:
    # TensorFlow Transform selects the older Keras.
    monkeypatch.setenv("TF_USE_LEGACY_KERAS", legacy)
    write_plan(Plan(str(good_export), ["MatMul"], ["pixels"], huge_batch=24), sample, tmp_path)
    script = """
import sys
from pathlib import Path
from components.serving_check.fresh_process import main
main(Path(sys.argv[1]))
others = {"keras", "tf_keras", "sklearn", "matplotlib", "pyarrow", "apache_beam", "tfx", "pydantic"}
print(sorted(name for name in others if sys.modules.get(name)))
"""
    command = [sys.executable, "-c", script, str(tmp_path)]
    assert subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout == "[]\n"
    report = read_report(tmp_path)
    assert (report.load_error, report.python_load_error, report.ended) == ("", "", True)
