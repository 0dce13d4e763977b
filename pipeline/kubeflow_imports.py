"""Keeps out of a step's process what it has no use for: imports are most of the time that a small step takes.

Whatever component runs, TFX imports all of them, and with them TFMA; TensorFlow and Beam import notebooks, plots, other
frameworks and the clients of databases, where they are installed, and do without where they are not. And Python's
garbage collector looks again and again through all that was imported, of which nothing is ever garbage.
"""

import gc
import importlib
import os
import sys
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any

_UNUSED = ("matplotlib", "sklearn")
_UNUSED_WITHOUT_DATAFLOW = ("google.cloud.bigquery", "google.cloud.pubsub", "google.cloud.pubsub_v1")

_WITHOUT_TENSORFLOW = (
    "components.baseline_model.Executor",
    "components.pusher.Executor",
)
"""Executors that copy and compare files. TFX runs them without TensorFlow and Beam, as it does where only its package
ml-pipelines-sdk is installed."""

_WITH_TFMA = (
    "components.evaluator.executor.Executor",
    "tfx.components.evaluator.executor.Executor",
)
_COMPONENTS_WITHOUT_TFMA = tuple(
    f"tfx.components.{name}"
    for name in (
        "bulk_inferrer",
        "distribution_validator",
        "example_diff",
        "example_validator",
        "infra_validator",
        "schema_gen",
        "statistics_gen",
        "transform",
        "tuner",
    )
)
"""TFX completes TFMA's names where it collects its components, and collects those that it can import."""

_COLLECTIONS = ("IPython", "tfx.components", "tensorflow_model_analysis")
"""Packages that do no more in their `__init__` than to import all that is in them."""


def spare_imports(executor_class_path: str, *, dataflow: bool) -> None:
    """Makes Python take for not installed what the step does not use; only at the start of a process of its own.

    No garbage is collected until `resume_garbage_collection` is called, which is to be when all is imported.

    Args:
        executor_class_path: Which executor is to run.
        dataflow: Whether it gives work to Google Cloud Dataflow.
    """
    gc.disable()
    # The switch of the KFP SDK for containers, which need neither its compiler nor its client.
    os.environ["_KFP_RUNTIME"] = "true"
    unused = [*_UNUSED, *(() if dataflow else _UNUSED_WITHOUT_DATAFLOW)]
    if executor_class_path in _WITHOUT_TENSORFLOW:
        unused += ["apache_beam", "tensorflow"]
    if executor_class_path in _WITH_TFMA:
        unused += _COMPONENTS_WITHOUT_TFMA
    for name in unused:
        # This is how Python spells it: https://docs.python.org/3/reference/import.html#the-module-cache
        sys.modules[name] = None  # type: ignore[assignment]
    if executor_class_path in _WITH_TFMA:
        _leave_out_widgets()
    else:
        # Its parent installs what the older TFDV of the Python 3.11 set needs; TFMA's messages build on protobuf's.
        importlib.import_module("tfx")
        importlib.import_module("google.protobuf.wrappers_pb2")
        for package in _COLLECTIONS:
            _postpone(package)


def _leave_out_widgets() -> None:
    """Spares TFMA its views for notebooks, and with them IPython, of which the functions that show them name types."""
    notebook = ModuleType("tensorflow_model_analysis.notebook")
    visualization = ModuleType(f"{notebook.__name__}.visualization")
    for view in ("PlotViewer", "SlicingMetricsViewer", "TimeSeriesViewer"):
        setattr(visualization, view, object)
    sys.modules[notebook.__name__] = notebook
    sys.modules[visualization.__name__] = visualization
    _postpone("IPython")


def resume_garbage_collection() -> None:
    """Collects garbage again, and never looks through what was imported until now."""
    gc.freeze()
    gc.enable()


class _PostponedPackage(ModuleType):
    """A package whose modules can be imported, and whose `__init__` runs when somebody asks for what it alone has.

    Those of the others run then as well, because they complete each other.
    """

    def __getattr__(self, name: str) -> Any:
        if find_spec(f"{self.__name__}.{name}"):
            return importlib.import_module(f"{self.__name__}.{name}")
        for package in map(sys.modules.get, _COLLECTIONS):
            if isinstance(package, _PostponedPackage) and package.__spec__ and package.__spec__.loader:
                package.__class__ = ModuleType  # type: ignore[assignment]
                package.__spec__.loader.exec_module(package)
        return getattr(self, name)


def _postpone(name: str) -> None:
    spec = find_spec(name)
    if spec is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    package = module_from_spec(spec)
    package.__class__ = _PostponedPackage
    sys.modules[name] = package
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, package)
