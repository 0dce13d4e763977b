"""docs/kubeflow.md lists the parameters of the pipeline."""

import re
from pathlib import Path

from pipeline.kubeflow.compile.parameters import PARAMETERS

REPOSITORY = Path(__file__).parents[4]


def test_parameters() -> None:
    table = (REPOSITORY / "docs" / "kubeflow.md").read_text().partition("## Parameters")[2].partition("## ")[0]
    first_cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("|")]
    assert re.findall(r"`(\w+)`", "".join(first_cells)) == [parameter.name for parameter in PARAMETERS]
