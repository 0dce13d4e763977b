"""Finds the report of a run, or makes one from what ML Metadata knows of it; makes reports that compare two runs."""

from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from components.run_report.report import HTML_FILE, REPORT_TYPE
from pipeline.local.metadata import (
    MetadataError,
    UnknownRunError,
    artifact_folders,
    find_run,
    list_runs,
    open_metadata,
    run_outputs,
)
from pipeline.settings.settings import default_settings, reported_settings
from registry.atomic_files import replace_file
from registry.provenance import DamagedVersionError, Software, read_provenance
from registry.versions import version_number

if TYPE_CHECKING:
    from components.run_report.collection import RunFacts
    from components.run_report.report import StepCost
    from pipeline.local.comparison import RunComparison
    from pipeline.local.metadata import Run
    from pipeline.settings.settings import Settings


def find_reported_run(settings: "Settings", name: str | None) -> "Run":
    """Finds a run by its name, by default the newest that is not a search for hyperparameters.

    Args:
        settings: Settings with the workspace.
        name: As in `find_run`; a version that is the result of a rollback has the run of the version that it copies.

    Raises:
        MetadataError: The metadata database is damaged.
        UnknownRunError: No run, or more than one, has this name.
    """
    runs = list_runs(settings.metadata_file)
    if not runs:
        raise UnknownRunError(f"No pipeline has run in {settings.workspace} yet; start one with `digits run`.")
    if name is None:
        return next((run for run in reversed(runs) if not run.is_search), runs[-1])
    try:
        return find_run(runs, name)
    except UnknownRunError:
        with suppress(DamagedVersionError):
            provenance = read_provenance(settings.serving_directory / name) if version_number(name) else None
            if provenance and (of_copy := [run for run in runs if run.run_id == provenance.origin.pipeline_run]):
                return of_copy[0]
        raise


def find_report(settings: "Settings", run: "Run") -> Path | None:
    """Returns the folder of the report that RunReport wrote in a run, or None if it wrote none, or it is gone.

    Raises:
        MetadataError: The metadata database is damaged.
    """
    with open_metadata(settings.metadata_file) as store:
        folders = map(Path, artifact_folders(store, run.run_id, REPORT_TYPE))
    return next((folder for folder in folders if (folder / HTML_FILE).exists()), None)


def find_reportable_run(settings: "Settings", since: datetime) -> "Run | None":
    """Returns the newest run if it has started since then and has at least statistics of its data."""
    with suppress(MetadataError):
        for run in list_runs(settings.metadata_file)[-1:]:
            described = {step.name for step in run.steps if step.state in ("ran", "cached")}
            return run if run.started >= since and "StatisticsGen" in described else None
    return None


def make_report(settings: "Settings", run: "Run") -> Path:
    """Makes a report of what there is of a run, such as one that failed, and returns its folder.

    Raises:
        MetadataError: The metadata database is damaged.
        OSError: The report cannot be written.
    """
    from tfx.types.artifact_utils import deserialize_artifact

    from components.run_report.collection import INPUTS, collect_report
    from components.run_report.component import write_report
    from components.run_report.step_costs import read_step_costs

    with open_metadata(settings.metadata_file) as store:
        outputs = run_outputs(store, run.run_id)
        types = {each.id: each for each in store.get_artifact_types()}
        facts = _facts(settings, run, read_step_costs(store, run.run_id))
    artifacts = {
        key: deserialize_artifact(types[found.type_id], found)
        for key, each in INPUTS.items()
        if (found := outputs.get((each.step, each.output)))
    }
    folder = settings.report_directory / run.run_id
    folder.mkdir(parents=True, exist_ok=True)
    write_report(collect_report(artifacts, facts), folder)
    return folder


def write_comparison(settings: "Settings", comparison: "RunComparison") -> Path:
    """Writes a comparison of two runs as a page, and returns its file.

    Raises:
        OSError: The page cannot be written.
    """
    from pipeline.local.comparison_page import render_comparison

    settings.report_directory.mkdir(parents=True, exist_ok=True)
    file = settings.report_directory / f"{'_'.join(run.run_id for run in comparison.runs)}.html"
    replace_file(file, render_comparison(comparison))
    return file


def _facts(settings: "Settings", run: "Run", steps: "tuple[StepCost, ...]") -> "RunFacts":
    from components.run_report.changed_settings import changed_settings
    from components.run_report.collection import RunFacts

    reason = run.reason
    # Earlier releases did not record the reason.
    if not reason and run.outcome in ("failed", "stopped"):
        reason = (
            f"{run.steps[-1].name if run.steps else 'The first step'} did not complete; see {settings.log_directory}."
        )
    return RunFacts(
        model=run.pipeline,
        run_id=run.run_id,
        outcome="pushed" if run.outcome == "unchanged" else run.outcome,
        reasons=(reason,) if reason else (),
        trials=tuple(run.trials),
        settings=changed_settings(reported_settings(run.settings), default_settings()),
        steps=steps,
        software=Software.model_validate(run.software) if run.software else None,
        missing=()
        if run.settings
        else ("No settings: the run has not ended, or an earlier release did not record them.",),
    )
