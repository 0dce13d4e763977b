import io
import pstats
from pathlib import Path

from rich.console import Console
from tensorflow.tsl.profiler.protobuf.xplane_pb2 import XSpace

from benchmarks.hot_spots import StepProfiler, operation_rows


def make_trace(**picoseconds: int) -> XSpace:
    trace = XSpace()
    plane = trace.planes.add()
    for number, (name, duration) in enumerate(picoseconds.items()):
        plane.event_metadata[number].name = name
        # Operations run on several threads.
        for line in (plane.lines.add(), plane.lines.add()):
            line.events.add(metadata_id=number, duration_ps=duration // 2)
    return trace


def test_operations_are_added_without_the_machinery_that_runs_them() -> None:
    machinery = {"ExecutorState::Process": 900, "EagerExecute": 800, "Iterator::Root::Prefetch": 700}
    first = make_trace(**{"model/conv/Relu:_MklNativeFusedConv2D": 40, "model/logits:MatMul": 20, **machinery})
    second = make_trace(**{"StatefulPartitionedCall/model/logits:MatMul": 140})
    assert operation_rows([first, second]) == [
        ("model/logits:MatMul", "80.0%"),
        ("model/conv/Relu:_MklNativeFusedConv2D", "20.0%"),
    ]
    assert operation_rows([]) == []


def test_only_the_chosen_step_is_profiled(tmp_path: Path) -> None:
    def work_before() -> None: ...

    def work_inside() -> None: ...

    def work_after() -> None: ...

    profiler = StepProfiler(Console(file=io.StringIO()), "Transform", tmp_path)
    for step, work in {"StatisticsGen": work_before, "Transform": work_inside, "Trainer": work_after}.items():
        profiler.step_started(step)
        work()
        profiler.step_ended(step, "ran", 1.0)
    profiler.stop()
    functions = {name for _, _, name in pstats.Stats(profiler.profile).stats}  # type: ignore[attr-defined]
    assert "work_inside" in functions
    assert not functions & {"work_before", "work_after"}
    assert profiler.steps == ["StatisticsGen", "Transform", "Trainer"]
