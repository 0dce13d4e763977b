"""Reports of a small run whose artifacts are on disk."""

import base64
import io
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tfx.types import Artifact

from components.run_report import collection
from components.run_report.collection import INPUTS, RunFacts, collect_report, read_scalars
from components.run_report.report import Report, StepCost
from components.verdict import Finding, write_verdict
from registry.provenance import Software
from tests.support.run_artifacts import CONTRACT, make_artifacts, verdict, write_scalars

SOFTWARE = Software(version="0.1.0", revision="c0ffee", python="3.11.9", packages={"tfx": "1.21.0"})
FACTS = RunFacts(
    "digits", "2026-01-02", steps=(StepCost(name="Trainer", seconds=3.5, peak_bytes=1000),), software=SOFTWARE
)


@pytest.fixture
def artifacts(tmp_path: Path) -> dict[str, Artifact]:
    return make_artifacts(tmp_path)


def pixels(picture: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(picture))))


def test_the_report_of_a_complete_run_lacks_nothing(artifacts: dict[str, Artifact]) -> None:
    report = collect_report(artifacts, FACTS)
    assert report.missing == ()
    assert (report.model, report.run_id, report.steps) == ("digits", "2026-01-02", FACTS.steps)
    assert (report.outcome, report.reasons) == ("pushed", ())
    assert (report.version, report.baseline_version) == (17, 16)
    assert (report.temperature, report.parameters) == (1.25, 1234)
    assert [gate.name for gate in report.gates] == ["DataGate", "Evaluator", "RobustnessEvaluator", "ServingCheck"]
    assert report.packages == {"Python": "3.11.9", "digit-classifier": "0.1.0 (c0ffee)", "tfx": "1.21.0"}
    assert [source.step for source in report.sources] == [each.step for each in INPUTS.values()]
    assert report.sources[1].uri == artifacts["examples"].uri
    assert report.sources[4].type == "digits.Verdict"
    assert Report.model_validate_json(report.model_dump_json()) == report


def test_the_data_is_described_by_its_examples_and_statistics(artifacts: dict[str, Artifact]) -> None:
    data = collect_report(artifacts, FACTS).data
    assert data is not None
    assert (data.uri, data.span, data.fingerprint) == ("data/mnist.npz", 4, "abc")
    assert (data.classes, data.image_shape) == (CONTRACT.classes, (12, 12, 1))
    assert data.class_counts["train"] == {"A": 10, "b": 10, "ß c": 10}
    assert [sample.label for sample in data.samples] == [name for name in CONTRACT.classes for _ in range(8)]
    # The first images of class `b`, in the order of the files.
    shown = [int(pixels(sample.image).max()) for sample in data.samples if sample.label == "b"]
    assert shown == [1, 4, 7, 10, 13, 16, 19, 22]
    assert data.anomalies == {"label": "train, test: Unexpected string values.", "": "test: Low num examples."}


def test_mistakes_show_the_images_of_the_test_split(artifacts: dict[str, Artifact]) -> None:
    evaluation = collect_report(artifacts, FACTS).evaluation
    assert evaluation is not None
    shown = [(int(pixels(each.image).max()) // 20, each.label, each.prediction) for each in evaluation.mistakes]
    assert shown[0] == (5, "b", "ß c")
    assert sorted(shown[1:3]) == [(3, "A", "b"), (10, "ß c", "A")]
    assert shown[3:] == [(11, "ß c", "")]


def test_large_images_are_reduced(tmp_path: Path) -> None:
    large = collection.Contract(("a", "b"), 100, 50, 3)
    file = io.BytesIO()
    Image.new("RGB", (50, 100), (255, 0, 0)).save(file, "PNG")
    [picture] = collection._draw([file.getvalue()], large)
    assert pixels(picture).shape == (56, 28, 3)
    assert pixels(picture)[0, 0].tolist() == [255, 0, 0]


def test_data_with_many_classes_has_few_samples(
    artifacts: dict[str, Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collection, "_MAX_SAMPLES", 2)
    data = collect_report(artifacts, FACTS).data
    assert data is not None
    assert [sample.label for sample in data.samples] == ["A", "b"]


def test_where_data_gate_refused_the_report_has_the_data_and_the_reasons(
    artifacts: dict[str, Artifact], tmp_path: Path
) -> None:
    few = Finding("examples", "train", False, "too few examples", value=30.0, lower_bound=100.0, feature="label")
    write_verdict(verdict("DataGate", few), tmp_path / "data_verdict")
    of_data = {key: artifacts[key] for key in ("schema", "examples", "statistics", "anomalies", "data_verdict")}
    report = collect_report(of_data, FACTS)
    assert (report.outcome, report.version) == ("refused", None)
    assert report.reasons == ("DataGate: examples (label, train) is 30, expected ≥ 100: too few examples.",)
    assert report.data is not None
    assert report.evaluation is None
    assert "No training curves: Trainer did not complete." in report.missing
    assert "No decision of ServingCheck: ServingCheck did not complete." in report.missing


def test_a_refusal_of_a_gate_gives_the_reason(artifacts: dict[str, Artifact], tmp_path: Path) -> None:
    artifacts["pushed_model"] = INPUTS["pushed_model"].type()
    artifacts["pushed_model"].uri = str(tmp_path / "pushed_model")
    report = collect_report(artifacts, FACTS)
    assert (report.outcome, report.reasons) == ("refused", ("InfraValidator refused the model.",))
    low = Finding("accuracy", "all", False, "it may be as low as 0.4", value=0.5, lower_bound=0.9)
    write_verdict(verdict("Evaluator", low), tmp_path / "evaluation_verdict")
    report = collect_report(artifacts, FACTS)
    assert report.outcome == "refused"
    assert report.reasons == ("Evaluator: accuracy (all) is 0.5000, expected ≥ 0.9000: it may be as low as 0.4.",)


def remove(key: str, name: str = "") -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / key / name
        path.unlink() if path.is_file() else shutil.rmtree(path)

    return change


def damage(key: str, name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / key / name).write_bytes(b"damaged")

    return change


@pytest.mark.parametrize(
    ("change", "missing", "lost"),
    [
        pytest.param(remove("statistics"), ["No statistics of the data: .*statistics no longer exists"], {"data"}),
        pytest.param(
            remove("examples"),
            ["No sample images: .*examples no longer exists", "No pictures of mistakes: .*no longer exists"],
            set(),
        ),
        pytest.param(
            damage("examples", "Split-test/data_tfrecord-00000-of-00001.gz"), ["No pictures of mistakes: .*"], set()
        ),
        pytest.param(damage("statistics", "Split-eval/FeatureStats.pb"), ["No statistics of the data: .*"], {"data"}),
        pytest.param(
            remove("evaluation", "predictions-00000-of-00001.parquet"),
            ["No confusion matrix, calibration and mistakes: .*no predictions; earlier releases did not write them.*"],
            set(),
        ),
        pytest.param(remove("evaluation"), ["No results on the test split: .*"], {"evaluation"}),
        pytest.param(
            remove("model_run"), ["No training curves: .*no longer exists"], {"epochs", "temperature", "parameters"}
        ),
        pytest.param(remove("model_run", "train"), ["No training curves: the logs of Trainer have none"], {"epochs"}),
        pytest.param(
            damage("evaluation_verdict", "verdict.json"), ["No decision of Evaluator: .*not a verdict.*"], set()
        ),
        pytest.param(remove("schema"), ["No data and results by class: .*no longer exists"], {"data", "evaluation"}),
    ],
)
def test_what_is_absent_is_said_and_everything_else_stays(
    artifacts: dict[str, Artifact], tmp_path: Path, change: Callable[[Path], None], missing: list[str], lost: set[str]
) -> None:
    complete = collect_report(artifacts, FACTS).model_dump()
    change(tmp_path)
    report = collect_report(artifacts, FACTS)
    assert len(report.missing) == len(missing)
    for sentence, expected in zip(report.missing, missing, strict=True):
        assert re.fullmatch(f"{expected}\\.", sentence), sentence
    contents = ("data", "epochs", "temperature", "parameters", "evaluation", "robustness", "latencies")
    assert {name for name in contents if not getattr(report, name)} == lost
    assert all(getattr(report, name) or complete[name] for name in contents)


def test_without_predictions_there_are_results_by_class(artifacts: dict[str, Artifact], tmp_path: Path) -> None:
    remove("evaluation", "predictions-00000-of-00001.parquet")(tmp_path)
    evaluation = collect_report(artifacts, FACTS).evaluation
    assert evaluation is not None
    assert (evaluation.num_mistakes, evaluation.confusion, evaluation.mistakes) == (4, (), ())
    assert [each.name for each in evaluation.classes] == ["A", "b", "ß c"]


def test_facts_that_the_run_does_not_have_are_missing(artifacts: dict[str, Artifact]) -> None:
    facts = RunFacts("digits", "1", "failed", ("Trainer failed.",), missing=("No settings: lost.",))
    report = collect_report(artifacts, facts)
    assert (report.outcome, report.reasons) == ("failed", ("Trainer failed.",))
    assert report.missing == (
        "No settings: lost.",
        "No time of the steps: the runner does not tell.",
        "No peak memory of the steps: it was not measured.",
        "No versions of the software: the run did not record them.",
    )


def test_scalars_are_read_by_folder_and_tag(tmp_path: Path) -> None:
    write_scalars(tmp_path / "train", {"epoch_loss": [0.5, 0.25]})
    write_scalars(tmp_path, {"temperature": [1.5]})
    assert read_scalars(str(tmp_path)) == {".": {"temperature": [1.5]}, "train": {"epoch_loss": [0.5, 0.25]}}
