"""Emulates a cluster with Kubeflow Pipelines: runs compiled pipelines as Argo does, several pods at a time.

Source: kubeflow/pipelines 2.17.0, backend/src/v2/compiler/argocompiler (dag.go, container.go). A task waits until
its dependencies have succeeded, a task whose condition is false is skipped, and after a failure no other task starts
(Argo's failFast, the default). Argo retries a pod that failed or was evicted, but not one that was deleted.
"""

import shutil
import uuid
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from threading import Semaphore
from typing import Any

from tests.kubeflow.emulator.compiled_pipeline import CompiledPipeline, Task
from tests.kubeflow.emulator.contract import ContractError
from tests.kubeflow.emulator.driver import Execution, drive
from tests.kubeflow.emulator.launcher import Attempt, Launcher, Runner
from tests.kubeflow.emulator.metadata import Metadata, Run, State, StoredArtifact
from tests.kubeflow.emulator.stores import ObjectStore, session_of

DEFAULT_PIPELINE_ROOT = "minio://mlpipeline/v2/artifacts"


@dataclass(frozen=True)
class TaskRun:
    """The result of a task in a run.

    Attributes:
        state: `skipped` if its condition is false; `omitted` if its driver did not run.
        failure: The reason of a failure, else empty.
        attempts: Its pods in order.
        outputs: Its recorded artifacts by output.
        execution: The decisions of its driver; None if it did not run or failed.
    """

    state: State
    failure: str = ""
    attempts: tuple[Attempt, ...] = ()
    outputs: Mapping[str, StoredArtifact] | None = None
    execution: Execution | None = None


@dataclass(frozen=True)
class PipelineRun:
    """The result of a run: its tasks, in the order in which they ended."""

    run_id: str
    tasks: Mapping[str, TaskRun]

    @property
    def succeeded(self) -> bool:
        """Whether no task failed."""
        return not self.named("failed")

    def named(self, state: State) -> set[str]:
        """Returns the names of the tasks with a state."""
        return {name for name, task in self.tasks.items() if task.state == state}

    def output(self, task: str, key: str) -> StoredArtifact:
        """Returns an output of a task that succeeded or was cached."""
        outputs = self.tasks[task].outputs
        assert outputs is not None, f"{task} has no outputs: {self.tasks[task]}"
        return outputs[key]


class Cluster:
    """Stores that persist across runs, and slots for pods."""

    def __init__(
        self,
        folder: Path,
        runner: Runner,
        num_slots: int = 2,
        secrets: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        """Starts with empty stores.

        Args:
            folder: Folder for `store`, and for `pods` while they run.
            runner: Runs the commands of the pods.
            num_slots: Number of pods that run at a time, in all runs together.
            secrets: Values of secrets by key.
        """
        self.store = ObjectStore(folder / "store")
        self.pods = folder / "pods"
        self.metadata = Metadata()
        self._launcher = Launcher(self.store, self.metadata, runner, secrets or {})
        self._slots = Semaphore(num_slots)
        self._num_slots = num_slots

    def run(
        self,
        pipeline: CompiledPipeline,
        parameters: Mapping[str, Any] | None = None,
        root: str = DEFAULT_PIPELINE_ROOT,
    ) -> PipelineRun:
        """Runs a pipeline to its end; several threads may call this at once.

        Args:
            pipeline: The pipeline.
            parameters: Values of runtime parameters; others have their defaults.
            root: URI of the folder for the artifacts of all runs.

        Returns:
            The result, also of a failed run.

        Raises:
            ContractError: The API server would refuse the parameters.
            NotEmulatedError: The pipeline uses a feature that is not emulated.
        """
        run_id = str(uuid.uuid4())
        values = pipeline.parameters(parameters or {})
        run = self.metadata.start_run(pipeline.name, run_id, root, session_of(root), values)
        finished: dict[str, TaskRun] = {}
        order = TopologicalSorter({name: task.dependencies for name, task in pipeline.tasks.items()})
        order.prepare()
        pending: dict[Future[None], str] = {}
        with ThreadPoolExecutor(max_workers=self._num_slots) as pool:
            while order.is_active():
                for name in order.get_ready():
                    pending[pool.submit(self._run_task, pipeline.tasks[name], run, finished)] = name
                done, _ = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
                    order.done(pending.pop(future))
        return PipelineRun(run_id, finished)

    def _run_task(self, task: Task, run: Run, finished: dict[str, TaskRun]) -> None:
        results = dict(finished)
        has_failure = any(other.state == "failed" for other in results.values())
        if has_failure or any(results[name].state not in ("succeeded", "cached") for name in task.dependencies):
            finished[task.name] = TaskRun("omitted")
        else:
            finished[task.name] = self._drive_and_launch(task, run)

    def _drive_and_launch(self, task: Task, run: Run) -> TaskRun:
        try:
            execution = drive(task, run, self.metadata)
            if execution.condition is False:
                return TaskRun("skipped", execution=execution)
            if execution.is_cached:
                return TaskRun("cached", outputs=self.metadata.outputs(execution.execution_id), execution=execution)
            return self._run_pods(task, execution, run)
        except ContractError as error:
            return TaskRun("failed", str(error))

    def _run_pods(self, task: Task, execution: Execution, run: Run) -> TaskRun:
        attempts: list[Attempt] = []
        for number in range(task.num_attempts):
            directory = self.pods / f"{run.run_id}-{task.name}-{number}"
            with self._slots:
                attempts.append(self._launcher.launch(task, execution, run, number, directory))
            shutil.rmtree(directory)
            if not attempts[-1].failure or not attempts[-1].is_retried:
                break
        failure = attempts[-1].failure
        outputs = self.metadata.outputs(execution.execution_id)
        return TaskRun("failed" if failure else "succeeded", failure, tuple(attempts), outputs, execution)
