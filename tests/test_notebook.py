import os
from pathlib import Path

import nbformat
import pytest
from ipykernel.kernelspec import write_kernel_spec
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

NOTEBOOK = Path(__file__).parents[1] / "digit_classifier.ipynb"
CELL_TIMEOUT = 600

pytestmark = pytest.mark.slow


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture
def stored() -> NotebookNode:
    return nbformat.read(NOTEBOOK, nbformat.NO_CONVERT)


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> NotebookNode:
    """Run by this interpreter, whatever kernels are installed, and from a folder that is not the project's root."""
    folder = tmp_path_factory.mktemp("jupyter")
    write_kernel_spec(folder / "kernels" / "python3")
    manager = AsyncKernelManager(
        kernel_name="python3", kernel_spec_manager=KernelSpecManager(kernel_dirs=[str(folder / "kernels")])
    )
    notebook = nbformat.read(NOTEBOOK, nbformat.NO_CONVERT)
    notebook.cells.append(new_code_cell("test_accuracy"))
    client = NotebookClient(
        notebook, km=manager, timeout=CELL_TIMEOUT, resources={"metadata": {"path": str(Path(__file__).parent)}}
    )
    return client.execute(env={**os.environ, "IPYTHONDIR": str(folder / "ipython")})


def test_is_stored_without_outputs(stored: NotebookNode) -> None:
    assert [cell.id for cell in code_cells(stored) if cell.outputs or cell.execution_count is not None] == []


def test_format_and_kernel(stored: NotebookNode) -> None:
    nbformat.validate(stored)
    assert (stored.nbformat, stored.nbformat_minor) == (4, 5)
    assert stored.metadata.kernelspec.name == "python3"


def test_shows_pictures(executed: NotebookNode) -> None:
    outputs = [output for cell in code_cells(executed) for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 5


def test_accuracy(executed: NotebookNode) -> None:
    (result,) = executed.cells[-1].outputs
    assert float(result.data["text/plain"]) >= 0.9
