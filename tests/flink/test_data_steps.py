import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import tensorflow as tf

# TFX comes first: it installs what the older TFDV of the Python 3.11 set needs.
import tfx.components  # noqa: F401

# isort: split
import tensorflow_data_validation as tfdv
import tensorflow_model_analysis as tfma
from google.protobuf.json_format import MessageToDict
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tensorflow_metadata.proto.v0.anomalies_pb2 import Anomalies

from components.evaluator import metrics  # noqa: F401 (TFMA loads them by name)
from components.evaluator.bounds import Key, measurements
from components.example_gen.sources.errors import DataError
from components.features import SPLITS
from components.verdict import read_verdict
from pipeline.local.runner import explain_failure
from pipeline.settings.settings import Settings
from tests.support.data_steps import run_data_steps
from tests.support.examples import png
from tests.support.flink_cluster import EngineRun

pytestmark = pytest.mark.flink


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def records(folder: Path) -> Iterator[dict[str, tuple[float | bytes, ...]]]:
    paths = sorted(str(path) for path in folder.iterdir())
    for record in tf.data.TFRecordDataset(paths, "GZIP").as_numpy_iterator():
        features = tf.train.Example.FromString(record).features.feature
        yield {key: tuple(getattr(value, value.WhichOneof("kind")).value) for key, value in features.items()}


def test_shards_are_equal_byte_for_byte(direct: EngineRun, flink: EngineRun) -> None:
    ours, theirs = (run.folder / "MnistExampleGen" / "examples" for run in (direct, flink))
    assert files(ours) == files(theirs)
    # The shards of each split, the number of examples in each, and the schema.
    assert len(files(ours)) == 2 * len(SPLITS) + 2
    assert all((ours / name).read_bytes() == (theirs / name).read_bytes() for name in files(ours))


@pytest.mark.parametrize("split", SPLITS)
def test_statistics_and_anomalies_are_equal(direct: EngineRun, flink: EngineRun, split: str) -> None:
    ours, theirs = (
        statistics(run.folder / "StatisticsGen" / "statistics" / f"Split-{split}" / "FeatureStats.pb")
        for run in (direct, flink)
    )
    assert len(ours) > 100
    assert ours.keys() == theirs.keys()
    for place, value in ours.items():
        # The last digit of a sum depends on the order.
        expected = pytest.approx(value, rel=1e-12) if isinstance(value, float) else value
        assert theirs[place] == expected, place
    anomalies = [
        Anomalies.FromString((run.folder / f"ExampleValidator/anomalies/Split-{split}/SchemaDiff.pb").read_bytes())
        for run in (direct, flink)
    ]
    assert MessageToDict(anomalies[0]) == MessageToDict(anomalies[1])


def statistics(file: Path) -> dict[str, object]:
    """Returns every value by its path, independent of the order of the features."""
    (dataset,) = tfdv.load_stats_binary(str(file)).datasets
    features = {str(feature.path): MessageToDict(feature) for feature in dataset.features}
    return {"num_examples": dataset.num_examples, **dict(leaves(features))}


def leaves(node: object, place: str = "") -> Iterator[tuple[str, object]]:
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else None
    if children is None:
        yield place, node
    for key, child in children or ():
        yield from leaves(child, f"{place}/{key}")


def test_transform_constants_are_equal(direct: EngineRun, flink: EngineRun) -> None:
    ours, theirs = (constants(run.folder / "Transform" / "transform_graph") for run in (direct, flink))
    assert len(ours) >= 2, "mean and variance"
    np.testing.assert_allclose(theirs, ours, rtol=1e-12)


def constants(transform_graph: Path) -> list[float]:
    saved_model = SavedModel.FromString((transform_graph / "transform_fn" / "saved_model.pb").read_bytes())
    nodes = [node for node in saved_model.meta_graphs[0].graph_def.node if node.op == "Const"]
    values = [tf.make_ndarray(node.attr["value"].tensor) for node in nodes]
    return [float(value) for value in values if value.dtype == np.float64 and value.size == 1]


def test_corrupted_records_are_equal(direct: EngineRun, flink: EngineRun) -> None:
    ours, theirs = (run.folder / "CorruptedExampleGen" / "corrupted_examples" / "Split-test" for run in (direct, flink))
    assert files(ours) == files(theirs)
    # The order is the same, but the bytes of a record depend on the order of a hash map.
    assert all(one == other for one, other in zip(records(ours), records(theirs), strict=True))


@pytest.mark.parametrize("evaluator", ["Evaluator", "RobustnessEvaluator"])
def test_metrics_and_decisions_are_equal(direct: EngineRun, flink: EngineRun, evaluator: str) -> None:
    ours, theirs = (metric_values(run.folder / evaluator / "evaluation") for run in (direct, flink))
    assert ours.keys() == theirs.keys()
    assert len(ours) > 10
    for key, value in ours.items():
        assert theirs[key] == pytest.approx(value, rel=1e-6, abs=1e-12, nan_ok=True), key
    decisions = [
        [
            (finding.metric, finding.slice, finding.passed)
            for finding in read_verdict(str(run.folder / evaluator / "verdict")).findings
        ]
        for run in (direct, flink)
    ]
    assert decisions[0] == decisions[1]


def metric_values(evaluation: Path) -> dict[Key, tuple[float, ...]]:
    measured = measurements(tfma.load_metrics(str(evaluation)))
    return {key: (measurement.value, *measurement.interval) for key, measurement in measured.items()}


def test_workers_end_with_their_jobs(flink: EngineRun) -> None:
    if flink.cluster is None or not flink.cluster.worker_pool:
        pytest.skip("The workers are threads of this process.")
    (fork_server,) = psutil.Process(flink.cluster.process_ids["worker-pool"]).children()[-1:]
    _, left = psutil.wait_procs(fork_server.children(), timeout=60)
    assert not left


def test_data_error_of_a_worker_is_reported_in_one_line(
    flink: EngineRun, make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    # The last test: after a failed job, Flink may unload Beam's classes before Beam has closed the connections of its
    # workers, which then stay until their TaskManager ends.
    source = tmp_path / "images"
    with np.load(make_settings().data.uri) as few:
        for number, (image, label) in enumerate(zip(few["x_train"][:100], few["y_train"][:100], strict=True)):
            file = source / str(label) / f"{number:03}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(png(image))
    damaged = sorted(source.glob("*/*.png"))[7]
    damaged.write_bytes(damaged.read_bytes()[:-40])
    settings = make_settings().model_copy(update={"data": make_settings().data.model_copy(update={"uri": str(source)})})
    with pytest.raises(RuntimeError) as caught:
        list(run_data_steps(settings, flink.beam_arguments, tmp_path / "steps"))
    explained = explain_failure(caught.value, "MnistExampleGen")
    assert isinstance(explained, DataError)
    assert re.fullmatch(rf"{re.escape(str(damaged))}.*", str(explained)), explained
