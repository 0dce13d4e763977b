"""docs/kubeflow.md names only parameters, settings, options and files that exist."""

import re
from pathlib import Path

import pytest

from pipeline.cli.deploy import deploy
from pipeline.kubeflow.compile.parameters import PARAMETERS
from pipeline.settings.kubeflow import KubeflowSettings

REPOSITORY = Path(__file__).parents[4]


@pytest.fixture(scope="module")
def text() -> str:
    return (REPOSITORY / "docs" / "kubeflow.md").read_text()


def test_parameters(text: str) -> None:
    table = text.partition("## Parameters")[2].partition("## ")[0]
    first_cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("|")]
    assert re.findall(r"`(\w+)`", "".join(first_cells)) == [parameter.name for parameter in PARAMETERS]


def test_settings(text: str) -> None:
    named = set(re.findall(r"\bkubeflow\.([a-z]+(?:_[a-z]+)+|cpu|memory|image|retries|resources)\b", text))
    assert len(named) > 8
    assert named <= set(KubeflowSettings.model_fields)


def test_options(text: str) -> None:
    lines = [line for line in text.splitlines() if line.lstrip().startswith("digits deploy")]
    used = {option for line in lines for option in re.findall(r"--[a-z-]+", line)}
    assert len(used) > 5
    assert used <= {option for parameter in deploy.params for option in parameter.opts}


def test_files(text: str) -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    paths = [REPOSITORY / "docs" / link for link in links]
    paths += [REPOSITORY / path for path in re.findall(r"deploy/kubernetes/[a-z-]+", text)]
    assert [path for path in paths if not path.exists()] == []
