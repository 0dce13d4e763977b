"""Keeps out of a step's process what it has no use for: imports are most of the time that a small step takes.

Whatever component runs, TFX imports all of them, and with them TFMA; TensorFlow, Beam and TFMA import notebooks, plots,
other frameworks and the clients of databases, where they are installed. These wait here until somebody uses them. And
Python's garbage collector looks again and again through all that was imported, of which nothing is ever garbage.
"""

import gc
import importlib
import os
import sys
import threading
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from types import ModuleType
from typing import Any

_POSTPONED = (
    "IPython",
    "google.cloud.bigquery",
    "google.cloud.dataflow",
    "google.cloud.pubsub",
    # These import scikit-learn.
    "keras.wrappers",
    "keras._tf_keras.keras.wrappers",
    "matplotlib",
    "matplotlib.patches",
    "matplotlib.pyplot",
    # The language toolkit of the metric ROUGE.
    "nltk",
    "nltk.stem",
    "nltk.stem.porter",
    # Keras 2 looks whether it is there.
    "scipy.ndimage",
    # It writes its documentation anew; TFMA and the gates use it when all is counted.
    "scipy.stats",
)

_WITHOUT_TENSORFLOW = (
    "components.baseline_model.Executor",
    "components.pusher.component.Executor",
)
"""Executors that copy and compare files. TFX runs them without TensorFlow and Beam, as it does where only its package
ml-pipelines-sdk is installed."""

_WITH_TFMA = (
    "components.evaluator.executor.Executor",
    "tfx.components.evaluator.executor.Executor",
)
_COMPONENTS_WITHOUT_TFMA = tuple(
    f"tfx.components.{name}.component"
    for name in (
        "bulk_inferrer",
        "distribution_validator",
        "example_diff",
        "example_validator",
        "infra_validator",
        "schema_gen",
        "statistics_gen",
        "trainer",
        "transform",
        "tuner",
    )
)
"""TFX completes TFMA's names where it collects its components, and collects those that it can import."""

_COLLECTIONS = ("tensorflow_model_analysis", "tfx.components")
"""Packages that do no more in their `__init__` than to import all that is in them. The first lacks names that the
second adds."""

_running = threading.RLock()


def spare_imports(executor_class_path: str) -> None:
    """Makes Python postpone what the step may do without; only at the start of a process of its own.

    No garbage is collected until `resume_garbage_collection` is called, which is to be when all is imported.

    Args:
        executor_class_path: Which executor is to run.
    """
    gc.disable()
    # The switch of the KFP SDK for containers, which need neither its compiler nor its client.
    os.environ["_KFP_RUNTIME"] = "true"
    if executor_class_path in _WITHOUT_TENSORFLOW:
        _leave_out("apache_beam", "tensorflow")
    if executor_class_path in _WITH_TFMA:
        _leave_out(*_COMPONENTS_WITHOUT_TFMA)
        _leave_out_widgets()
        sys.meta_path.insert(0, _PostponingFinder(_POSTPONED))
    else:
        sys.meta_path.insert(0, _PostponingFinder([*_POSTPONED, *_COLLECTIONS]))
        # TFMA's messages build on these, which its `__init__` would have loaded.
        importlib.import_module("google.protobuf.wrappers_pb2")


def resume_garbage_collection() -> None:
    """Collects garbage again, and never looks through what was imported until now."""
    gc.freeze()
    gc.enable()


def _leave_out(*names: str) -> None:
    for name in names:
        # This is how Python spells it: https://docs.python.org/3/reference/import.html#the-module-cache
        sys.modules[name] = None  # type: ignore[assignment]


def _leave_out_widgets() -> None:
    """Spares TFMA its views for notebooks, of which the functions that show them name types."""
    notebook = ModuleType("tensorflow_model_analysis.notebook")
    visualization = ModuleType(f"{notebook.__name__}.visualization")
    for view in ("PlotViewer", "SlicingMetricsViewer", "TimeSeriesViewer"):
        setattr(visualization, view, object)
    sys.modules[notebook.__name__] = notebook
    sys.modules[visualization.__name__] = visualization


class _PostponedModule(ModuleType):
    """A module that runs when somebody asks for what is in it; until then, what is below a package can be imported.

    importlib.util.LazyLoader also runs it for a second `import`, and for an import of what is below.
    """

    def __getattr__(self, name: str) -> Any:
        if "__path__" in vars(self) and find_spec(f"{self.__name__}.{name}"):
            return importlib.import_module(f"{self.__name__}.{name}")
        # Whoever else asks waits until it has run; the thread that runs it may ask for what is not there yet.
        with _running:
            _run(self)
            if self.__name__ in _COLLECTIONS:
                for collection in _COLLECTIONS:
                    _run(importlib.import_module(collection))
        return ModuleType.__getattribute__(self, name)


def _run(module: ModuleType) -> None:
    spec = module.__spec__
    if spec and isinstance(spec.loader, _PostponingLoader):
        spec.loader = module.__loader__ = spec.loader.postponed
        spec.loader.exec_module(module)
        module.__class__ = ModuleType


class _PostponingFinder(MetaPathFinder):
    def __init__(self, names: Sequence[str]) -> None:
        self._names = frozenset(names)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target) if fullname in self._names else None
        if spec and spec.loader:
            spec.loader = _PostponingLoader(spec.loader)
        return spec


class _PostponingLoader(Loader):
    def __init__(self, postponed: Loader) -> None:
        self.postponed = postponed

    def exec_module(self, module: ModuleType) -> None:
        module.__class__ = _PostponedModule
