"""Compares two runs of a workspace: settings, software, data, results of the gates, and predictions."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
from ml_metadata.metadata_store import MetadataStore

from components.evaluator.comparison import PredictionComparison, compare_predictions
from components.evaluator.prediction_files import read_predictions
from components.run_report.changed_settings import flatten
from components.verdict import Finding, Verdict, read_verdict
from pipeline.local.metadata import Run, artifact_folders, data_origin, find_run, list_runs, open_metadata
from registry.errors import ExpectedError
from registry.provenance import VERDICT_TYPE, DataOrigin

_Content = TypeVar("_Content")

_FINGERPRINT_WIDTH = 12


@dataclass(frozen=True)
class Metric:
    """A metric of a gate, with the findings of both runs; None if a run has none.

    The other attributes are those of `components.verdict.Finding`.
    """

    gate: str
    metric: str
    slice: str
    feature: str | None
    first: Finding | None
    second: Finding | None

    @property
    def texts(self) -> tuple[str, str]:
        """The values of both runs as tables show them; empty if a run has none."""
        return _text(self.first), _text(self.second)

    @property
    def differs(self) -> bool:
        """Whether tables show a difference."""
        return self.texts[0] != self.texts[1]

    @property
    def counts_images(self) -> bool:
        """Whether it is the number of images of a split."""
        return (self.gate, self.metric) == ("DataGate", "examples")


@dataclass(frozen=True)
class RunComparison:
    """Two runs.

    Attributes:
        runs: The first and the second run.
        data: Where their data comes from; None if a run has not read any.
        settings: Those that differ, by full name such as `trainer.epochs`; None if a run does not have the setting.
        software: Versions that differ, in the same way.
        metrics: What the gates have found, in their order in the verdicts.
        predictions: Accuracy on the images that the models of both runs have classified; None if a run has none.
        missing: What could not be compared and why, one sentence each.
    """

    runs: tuple[Run, Run]
    data: tuple[DataOrigin | None, DataOrigin | None]
    settings: Mapping[str, tuple[Any, Any]]
    software: Mapping[str, tuple[Any, Any]]
    metrics: tuple[Metric, ...]
    predictions: PredictionComparison | None
    missing: tuple[str, ...]

    @property
    def summary(self) -> tuple[tuple[str, Any, Any], ...]:
        """What each run is, and its data: a name and two values; a number with a fraction is a share of 0 to 1."""
        runs, data = self.runs, self.data
        rows: dict[str, tuple[Any, ...]] = {
            "run": tuple(run.run_id for run in runs),
            "outcome": tuple(run.outcome for run in runs),
            "version": tuple(run.version for run in runs),
            "test accuracy": tuple(run.test_accuracy for run in runs),
            "data": tuple(each and each.uri for each in data),
            "span": tuple(each and each.span for each in data),
            "fingerprint": tuple(each and each.fingerprint[:_FINGERPRINT_WIDTH] for each in data),
            **{f"{metric.slice} images": metric.texts for metric in self.metrics if metric.counts_images},
        }
        return tuple((name, first, second) for name, (first, second) in rows.items())

    @property
    def other_metrics(self) -> tuple[Metric, ...]:
        """The metrics that neither the summary nor the accuracy on the same images shows."""
        return tuple(metric for metric in self.metrics if not self._shows_elsewhere(metric))

    def _shows_elsewhere(self, metric: Metric) -> bool:
        if metric.counts_images:
            return True
        is_refused = any(finding and not finding.passed for finding in (metric.first, metric.second))
        if self.predictions is None or metric.metric not in ("accuracy", "recall") or is_refused:
            return False
        classes = {f"class {name}" for name in self.predictions.classes}
        return metric.slice in {"all", *classes, *self.predictions.corruptions}


def compare_runs(file: Path, first: str, second: str) -> RunComparison:
    """Compares two runs.

    Args:
        file: The metadata database of the workspace.
        first: Name of the first run; see `pipeline.local.metadata.find_run`.
        second: Name of the second run.

    Raises:
        MetadataError: The file is not a metadata database, or is damaged.
        UnknownRunError: A name fits no run, or several.
    """
    recorded = list_runs(file)
    runs = find_run(recorded, first), find_run(recorded, second)
    missing: list[str] = []
    with open_metadata(file) as store:
        data = data_origin(store, runs[0].run_id), data_origin(store, runs[1].run_id)
        verdicts = [_read(store, run, VERDICT_TYPE, read_verdict, missing) for run in runs]
        tables = [_read(store, run, "ModelEvaluation", read_predictions, missing) for run in runs]
    missing += [f"{run.run_id}: its settings and software are not recorded." for run in runs if not run.software]
    is_described = all(run.software for run in runs)
    settings, software = ([getattr(run, name) for run in runs] for name in ("settings", "software"))
    return RunComparison(
        runs=runs,
        data=data,
        settings=_differences(*settings) if is_described else {},
        software=_differences(*software) if is_described else {},
        metrics=tuple(_metrics(*verdicts)),
        predictions=compare_predictions(*map(pa.concat_tables, tables)) if all(tables) else None,
        missing=tuple(dict.fromkeys(missing)),
    )


def _read(
    store: MetadataStore, run: Run, type_name: str, read: Callable[[str], _Content], missing: list[str]
) -> list[_Content]:
    """Reads the artifacts of a type, and notes those that cannot be read."""
    contents = []
    folders = artifact_folders(store, run.run_id, type_name)
    for folder in folders:
        try:
            contents.append(read(folder))
        except ExpectedError as error:
            missing.append(str(error))
    if not folders:
        missing.append(f"{run.run_id}: no artifact of type {type_name}; the run ended before that step.")
    return contents


def _differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    values = dict(flatten(first)), dict(flatten(second))
    pairs = {name: (values[0].get(name), values[1].get(name)) for name in [*values[0], *values[1]]}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _metrics(first: Iterable[Verdict], second: Iterable[Verdict]) -> Iterator[Metric]:
    found = _findings(first), _findings(second)
    for key in dict.fromkeys([*found[0], *found[1]]):
        yield Metric(*key, found[0].get(key), found[1].get(key))


def _text(finding: Finding | None) -> str:
    if finding is None:
        return ""
    return " ".join(filter(None, (finding.cells()["value"], "" if finding.passed else "refused")))


def _findings(verdicts: Iterable[Verdict]) -> dict[tuple[str, str, str, str | None], Finding]:
    return {
        (verdict.gate, finding.metric, finding.slice, finding.feature): finding
        for verdict in verdicts
        for finding in verdict.findings
    }
