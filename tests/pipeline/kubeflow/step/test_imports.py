"""Each in a process of its own: what is imported, and what counts as not installed, belongs to the process."""

import subprocess
import sys

import pytest

from pipeline.kubeflow.step.imports import _WITH_TFMA, _WITHOUT_TENSORFLOW
from pipeline.settings.settings import PROJECT_ROOT

SPARE = "from pipeline.kubeflow.step.imports import spare_imports; spare_imports({class_path!r})"
ENTRY_POINT = "import tfx.orchestration.kubeflow.v2.container.kubeflow_v2_entrypoint_utils"


def run(class_path: str, *statements: str) -> str:
    """Runs Python in a process that spares the imports of an executor; returns what it printed."""
    code = "\n".join(["import sys", SPARE.format(class_path=class_path), *statements])
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT_ROOT, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    return process.stdout.strip()


@pytest.mark.parametrize("class_path", _WITHOUT_TENSORFLOW)
def test_executors_that_copy_files_run_without_tensorflow(class_path: str) -> None:
    import_executor = f"from tfx.utils.import_utils import import_class_by_path; import_class_by_path({class_path!r})"
    loaded = "print([name for name in ('tensorflow', 'apache_beam', 'pandas') if sys.modules.get(name)])"
    assert run(class_path, ENTRY_POINT, import_executor, loaded) == "[]"


def test_a_step_imports_neither_other_components_nor_tfma() -> None:
    others = (
        "tfx.components.pusher",
        "tensorflow_model_analysis.metrics",
        "IPython.terminal",
        "matplotlib.figure",
        "nltk.corpus",
        "sklearn",
        "google.cloud.bigquery.client",
    )
    output = run(
        "tfx.components.statistics_gen.executor.Executor",
        ENTRY_POINT,
        "import tfx.components.statistics_gen.executor",
        f"print([name for name in {others} if sys.modules.get(name)])",
    )
    assert output.splitlines()[-1] == "[]"


@pytest.mark.parametrize("first", ["tensorflow_model_analysis.run_model_analysis", "tfx.components.Pusher"])
def test_an_executor_that_asks_for_what_the_packages_collect_gets_it(first: str) -> None:
    output = run(
        "a_fork.executor.Executor",
        "import tensorflow_model_analysis, tfx.components",
        first,
        "tfma, pusher = tensorflow_model_analysis, tfx.components.Pusher",
        "print(tfma.run_model_analysis.__name__, tfma.EvalConfig.__name__, pusher.__name__)",
    )
    assert output.splitlines()[-1] == "run_model_analysis EvalConfig Pusher"


@pytest.mark.parametrize(
    ("statement", "used"),
    [
        ("from google.cloud import bigquery", "bigquery.Client.__name__ == 'Client'"),
        ("from google.cloud.bigquery import Client", "Client.__module__ == 'google.cloud.bigquery.client'"),
        ("import google.cloud.bigquery.table", "google.cloud.bigquery.table.Row.__name__ == 'Row'"),
        ("import keras", "keras.wrappers.SKLearnClassifier.__name__ == 'SKLearnClassifier'"),
        ("import matplotlib.pyplot as plt", "plt.figure().get_axes() == []"),
        ("import nltk", "nltk.edit_distance('span', 'spans') == 1"),
        (
            "from rouge_score.rouge_scorer import RougeScorer",
            "RougeScorer(['rouge1'], use_stemmer=True).score('two digits', 'two digit')['rouge1'].recall == 1",
        ),
        ("from scipy import ndimage", "ndimage.label([1, 0, 1])[1] == 2"),
        ("import IPython", "IPython.get_ipython() is None"),
    ],
)
def test_what_is_postponed_is_there_for_whoever_uses_it(statement: str, used: str) -> None:
    output = run("a_fork.executor.Executor", ENTRY_POINT, statement, f"print({used})")
    assert output.splitlines()[-1] == "True"


def test_a_name_that_a_postponed_module_lacks_is_missing() -> None:
    names = ("no_such", "nor_this", "edit_distance")
    output = run("a_fork.executor.Executor", "import nltk", f"print(*[hasattr(nltk, name) for name in {names}])")
    assert output == "False False True"


def test_threads_that_use_a_postponed_module_at_the_same_time_all_find_it_whole() -> None:
    output = run(
        "a_fork.executor.Executor",
        "from concurrent.futures import ThreadPoolExecutor",
        "from threading import Barrier",
        "import scipy.ndimage",
        "barrier = Barrier(8)",
        "def use(_): barrier.wait(); return scipy.ndimage.label([1, 0, 1])[1]",
        "with ThreadPoolExecutor(8) as pool: print([*pool.map(use, range(8))] == [2] * 8)",
    )
    assert output == "True"


@pytest.mark.parametrize("class_path", _WITH_TFMA)
def test_evaluator_has_all_of_tfma_and_can_import_another_executor(class_path: str) -> None:
    others = (
        "kubernetes",
        "ipywidgets",
        "IPython.core",
        "nltk.corpus",
        "scipy.stats._stats_py",
        "tfx.components.tuner",
    )
    output = run(
        class_path,
        ENTRY_POINT,
        f"from tfx.utils.import_utils import import_class_by_path; import_class_by_path({class_path!r})",
        "import tensorflow_model_analysis as tfma",
        "print(tfma.default_eval_shared_model.__name__, tfma.EvalConfig.__name__)",
        f"print([name for name in {others} if sys.modules.get(name)])",
        "import tfx.components.statistics_gen.executor",
    )
    assert output.splitlines()[-2:] == ["default_eval_shared_model EvalConfig", "[]"]


def test_no_garbage_is_collected_until_all_is_imported() -> None:
    output = run(
        "tfx.components.statistics_gen.executor.Executor",
        "import gc",
        "from pipeline.kubeflow.step.imports import resume_garbage_collection",
        ENTRY_POINT,
        "print(gc.isenabled(), gc.get_freeze_count())",
        "resume_garbage_collection()",
        "print(gc.isenabled(), gc.get_freeze_count() > 100_000)",
    )
    assert output.splitlines()[-2:] == ["False 0", "True True"]
