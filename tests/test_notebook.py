"""The notebook opens in JupyterLab and runs from top to bottom."""

import json
import os
import re
import shlex
import subprocess
from ast import literal_eval
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
import requests
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

PROJECT_ROOT = Path(__file__).parents[1]
NOTEBOOK = PROJECT_ROOT / "digit_classifier.ipynb"
CELL_TIMEOUT = 600
HTTP_TIMEOUT = 60

RESULTS = """
{
    "accuracy of the run": run.test_accuracy,
    "accuracy of the predictions": 1 - len(mistakes) / len(predictions),
    "predictions are in the order of the images": (test.label.str.decode("utf-8") == predictions.label).all().item(),
    "answers": [(answer.label, answer.status) for answer in answers],
}
"""


def outputs(notebook: NotebookNode) -> list[NotebookNode]:
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


@pytest.fixture
def stored() -> NotebookNode:
    return nbformat.read(NOTEBOOK, nbformat.NO_CONVERT)


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> NotebookNode:
    """Run by this interpreter, whatever kernels are installed, in a folder without a workspace."""
    folder = tmp_path_factory.mktemp("notebook")
    (folder / "data").symlink_to(PROJECT_ROOT / "data")
    notebook = nbformat.read(NOTEBOOK, nbformat.NO_CONVERT)
    notebook.cells.append(new_code_cell(RESULTS))
    kernels = KernelSpecManager(kernel_dirs=[])
    manager = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=kernels)
    client = NotebookClient(notebook, km=manager, timeout=CELL_TIMEOUT, resources={"metadata": {"path": str(folder)}})
    environment = {"PYTHONPATH": str(PROJECT_ROOT), "IPYTHONDIR": str(folder / "ipython")}
    return client.execute(env={**os.environ, **environment})


@pytest.fixture(scope="module")
def make_notebook() -> str:
    """The command that `make notebook` runs after the setup."""
    command = ["make", "-n", "notebook"]
    printed = subprocess.run(command, cwd=PROJECT_ROOT, check=True, capture_output=True, text=True)
    return printed.stdout.replace("\\\n", "").splitlines()[-1]


@pytest.fixture
def jupyter_lab(make_notebook: str, tmp_path: Path) -> Iterator[str]:
    """The URL that JupyterLab prints, started by a person who has a kernel `python3` of another environment."""
    kernel = tmp_path / "data" / "kernels" / "python3"
    kernel.mkdir(parents=True)
    spec = {"argv": ["/elsewhere/python", "-m", "ipykernel_launcher"], "display_name": "another", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(spec))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JUPYTER")}
    environment |= {f"JUPYTER_{kind.upper()}_DIR": str(tmp_path / kind) for kind in ("data", "config", "runtime")}
    assignment, *command = shlex.split(make_notebook)
    environment |= dict([assignment.split("=")])
    with subprocess.Popen(
        [*command, "--no-browser"], cwd=PROJECT_ROOT, env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        urls = (re.search(r"http://\S+/lab/tree/\S+", line) for line in process.stderr)
        url = next(filter(None, urls), None)
        try:
            yield url.group() if url else ""
        finally:
            process.terminate()


def test_is_stored_without_outputs(stored: NotebookNode) -> None:
    assert outputs(stored) == []
    assert {cell.execution_count for cell in stored.cells if cell.cell_type == "code"} == {None}


def test_format_and_kernel(stored: NotebookNode) -> None:
    nbformat.validate(stored)
    assert (stored.nbformat, stored.nbformat_minor) == (4, 5)
    assert stored.metadata.kernelspec.name == "python3"


def test_make_notebook_starts_jupyter_lab(make_notebook: str) -> None:
    assert ".venv/bin/jupyter lab digit_classifier.ipynb" in make_notebook
    printed = subprocess.run(["make", "help"], cwd=PROJECT_ROOT, check=True, capture_output=True, text=True).stdout
    assert re.search(r"^  make notebook +Open the notebook in JupyterLab", printed, re.MULTILINE)


def test_jupyter_lab_opens_the_notebook_with_the_kernel_of_the_environment(jupyter_lab: str) -> None:
    address, token = jupyter_lab.split("/lab/tree/digit_classifier.ipynb?token=")

    session = requests.Session()
    # JupyterLab prints the URL before it listens.
    session.mount("http://", HTTPAdapter(max_retries=Retry(connect=10, backoff_factor=0.1)))

    def get(path: str) -> Any:
        headers = {"Authorization": f"token {token}"}
        response = session.get(f"{address}/api/{path}", headers=headers, timeout=HTTP_TIMEOUT)
        assert response.status_code == 200, response.text
        return response.json()

    assert get("contents/digit_classifier.ipynb")["content"]["metadata"]["kernelspec"]["name"] == "python3"
    assert get("kernelspecs")["kernelspecs"]["python3"]["spec"]["display_name"] != "another"


def test_shows_pictures_and_no_logs(executed: NotebookNode) -> None:
    found = outputs(executed)
    assert sum("image/png" in output.get("data", {}) for output in found) >= 9
    assert [output.text for output in found if output.get("name") == "stderr"] == []


def test_results(executed: NotebookNode) -> None:
    results = literal_eval(outputs(executed)[-1].data["text/plain"])
    assert results["accuracy of the run"] >= 0.9
    assert results["accuracy of the predictions"] == pytest.approx(results["accuracy of the run"])
    assert results["predictions are in the order of the images"]
    *of_samples, of_empty_page = results["answers"]
    assert of_empty_page == ("", "blank")
    assert all(label for label, _ in of_samples)
