"""A cluster with Kubeflow Pipelines: runs compiled pipelines as Argo does, several pods at a time.

Source: kubeflow/pipelines 2.17.0, backend/src/v2/compiler/argocompiler (dag.go, container.go): a task waits until all
those it depends on have succeeded, a task whose condition is false is skipped, and once one has failed no further one
is started (Argo's failFast, which is its default).
"""

import shutil
import uuid
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from threading import Semaphore
from typing import Any, Literal

from tests.kubeflow.emulator.compiled_pipeline import CompiledPipeline, Task
from tests.kubeflow.emulator.contract import ContractError
from tests.kubeflow.emulator.driver import Execution, RunContext, drive
from tests.kubeflow.emulator.launcher import Attempt, Launcher
from tests.kubeflow.emulator.metadata_store import MetadataStore, StoredArtifact
from tests.kubeflow.emulator.object_store import ObjectStore
from tests.kubeflow.emulator.runner import Runner

DEFAULT_PIPELINE_ROOT = "minio://mlpipeline/v2/artifacts"

State = Literal["succeeded", "cached", "skipped", "omitted", "failed"]


@dataclass(frozen=True)
class TaskRun:
    """What became of a task in a run.

    Attributes:
        state: `skipped` if its condition is false; `omitted` if it never came to its driver.
        failure: Why it failed; empty if it did not.
        attempts: Its pods, in order.
        outputs: What it has on record, by output.
    """

    state: State
    failure: str = ""
    attempts: tuple[Attempt, ...] = ()
    outputs: Mapping[str, StoredArtifact] | None = None


@dataclass(frozen=True)
class PipelineRun:
    """What became of a run: the state of each task, in the order in which they ended."""

    run_id: str
    tasks: Mapping[str, TaskRun]

    @property
    def succeeded(self) -> bool:
        """Whether no task has failed."""
        return not self.named("failed")

    def named(self, state: State) -> set[str]:
        """Returns the names of the tasks that ended so."""
        return {name for name, task in self.tasks.items() if task.state == state}

    def output(self, task: str, key: str) -> StoredArtifact:
        """Returns an output of a task that has succeeded, or was answered from the cache."""
        outputs = self.tasks[task].outputs
        assert outputs is not None, f"{task} has no outputs: {self.tasks[task]}"
        return outputs[key]


class Cluster:
    """Stores that last over runs, and room for some pods at a time."""

    def __init__(self, folder: Path, runner: Runner, num_slots: int = 2) -> None:
        """Starts with empty stores.

        Args:
            folder: Where everything is kept: `store`, and `pods` as long as they run.
            runner: What starts the pods' commands.
            num_slots: How many pods run at a time, of all runs together.
        """
        self.store = ObjectStore(folder / "store")
        self.pods = folder / "pods"
        self._metadata = MetadataStore()
        self._launcher = Launcher(self.store, self._metadata, runner)
        self._slots = Semaphore(num_slots)
        self._num_slots = num_slots

    def run(self, pipeline: CompiledPipeline, parameters: Mapping[str, Any] | None = None) -> PipelineRun:
        """Runs a pipeline to its end; several threads may do so at once.

        Args:
            pipeline: What to run.
            parameters: Values of its runtime parameters, where they are not to have their defaults.

        Returns:
            What became of it, failed or not.

        Raises:
            ContractError: The API server would refuse the parameters.
            NotEmulatedError: The pipeline uses something that the emulator does not know.
        """
        run_id = str(uuid.uuid4())
        root = f"{DEFAULT_PIPELINE_ROOT}/{pipeline.name}/{run_id}"
        context = RunContext(pipeline.name, run_id, root, pipeline.parameters(parameters or {}))
        finished: dict[str, TaskRun] = {}
        order = TopologicalSorter({name: task.dependencies for name, task in pipeline.tasks.items()})
        order.prepare()
        pending: dict[Future[None], str] = {}
        with ThreadPoolExecutor(max_workers=self._num_slots) as pool:
            while order.is_active():
                for name in order.get_ready():
                    pending[pool.submit(self._run_task, pipeline.tasks[name], context, finished)] = name
                done, _ = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
                    order.done(pending.pop(future))
        return PipelineRun(run_id, finished)

    def _run_task(self, task: Task, run: RunContext, finished: dict[str, TaskRun]) -> None:
        someone_failed = any(other.state == "failed" for other in list(finished.values()))
        if someone_failed or not task.dependencies <= run.outputs.keys():
            finished[task.name] = TaskRun("omitted")
        else:
            finished[task.name] = self._drive_and_launch(task, run)

    def _drive_and_launch(self, task: Task, run: RunContext) -> TaskRun:
        try:
            execution = drive(task, run)
            if not execution.triggered:
                return TaskRun("skipped")
            cached = self._metadata.cached(run.pipeline, execution.fingerprint) if execution.fingerprint else None
            if cached:
                run.outputs[task.name] = cached
                return TaskRun("cached", outputs=cached)
            return self._run_pods(task, execution, run)
        except ContractError as error:
            return TaskRun("failed", str(error))

    def _run_pods(self, task: Task, execution: Execution, run: RunContext) -> TaskRun:
        attempts: list[Attempt] = []
        outputs: Mapping[str, StoredArtifact] = {}
        for number in range(task.num_attempts):
            directory = self.pods / f"{run.run_id}-{task.name}-{number}"
            with self._slots:
                attempt, outputs = self._launcher.launch(task, execution, run, number, directory)
            shutil.rmtree(directory)
            attempts.append(attempt)
            if not attempt.failure:
                run.outputs[task.name] = outputs
                if execution.fingerprint:
                    self._metadata.cache(run.pipeline, execution.fingerprint, outputs)
                return TaskRun("succeeded", "", tuple(attempts), outputs)
        return TaskRun("failed", attempts[-1].failure, tuple(attempts), outputs)
