"""The `digits` commands for pushed versions: list them, verify them, roll back, prune, label."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.options import (
    EXIT_FAILURE,
    config_option,
    json_option,
    model_option,
    percent,
    print_json,
    print_table,
    settings_from_options,
    workspace_option,
)
from registry.errors import UsageError

if TYPE_CHECKING:
    from pipeline.settings.settings import Settings
    from registry.labels import ModelLabels
    from registry.provenance import Provenance
    from registry.signing import TrustPolicy
    from registry.versions import Version


@click.command()
@workspace_option
@config_option
@json_option
def versions(workspace: str | None, config: Path | None, as_json: bool) -> None:
    """List the pushed versions of all models, oldest first.

    The current version of a model is the newest one that may be used. `digits verify` explains the states.
    """
    settings = settings_from_options(config, workspace=workspace)
    policy = settings.trust_policy
    found = [values for directory in _model_directories(settings) for values in _describe_versions(directory, policy)]
    if as_json:
        print_json(found)
    elif not found:
        click.echo(f"No version has been pushed to {settings.serving_root} yet.")
    else:
        print_table(
            ("model", "version", "pushed", "size", "accuracy", "span", "state", "role"),
            [
                (
                    values["model"],
                    str(values["version"]),
                    f"{datetime.fromisoformat(values['pushed']).astimezone():%Y-%m-%d %H:%M:%S}",
                    f"{values['bytes'] / 1e6:.1f} MB",
                    percent(values["test_accuracy"]),
                    "" if values["span"] is None else str(values["span"]),
                    values["state"],
                    _roles(values),
                )
                for values in found
            ],
        )
        click.echo(f"\n{settings.serving_root} (a server loads the current version of a model)")
        click.echo("`digits lineage VERSION` shows where a version comes from.")
        for values in found:
            if values["problem"]:
                click.echo(f"{values['model']} {values['version']}: {values['problem']}")
            gates = values["provenance"]["origin"]["gates"] if values["provenance"] else []
            if off := [gate["gate"] for gate in gates if not gate["enforced"]]:
                click.echo(f"{values['model']} {values['version']}: pushed with {', '.join(off)} switched off.")
            for text in (text for gate in gates for text in gate["accepted"]):
                click.echo(f"{values['model']} {values['version']}: a person accepted: {text}.")


@click.command()
@click.argument("version", type=int, required=False)
@click.option(
    "--served",
    is_flag=True,
    help="Only the versions that TF Serving loads: the newest one or, after `digits label`, those of all models.",
)
@model_option
@workspace_option
@config_option
@json_option
def verify(
    version: int | None, served: bool, model: str | None, workspace: str | None, config: Path | None, as_json: bool
) -> None:
    """Check the files and signatures of pushed versions.

    Checks VERSION, by default all versions of the model. A version passes if all its files are as pushed and it is
    signed with the key of the settings: docs/signatures.md. The setting signing.allow_unverified has no effect. Exit
    codes: 0 all versions pass, 1 a version fails, 2 invalid usage.
    """
    from registry.labels import served_versions
    from registry.publishing import existing_version, existing_versions

    if served and version is not None:
        raise click.UsageError(f"Give either --served or the version {version}, not both.")
    settings = settings_from_options(config, workspace=workspace)
    directory = find_serving_directory(settings, model)
    versions = served_versions(directory.parent, directory.name) if served else []
    if not versions:
        versions = existing_versions(directory) if version is None else [existing_version(directory, version)]
    policy = replace(settings.trust_policy, allow_unverified=False)
    checks = [policy.check(each.directory) for each in versions]
    found = list(zip(versions, checks, strict=True))
    if as_json:
        print_json([{**_version_values(each), "state": check.state, "problem": check.refusal} for each, check in found])
    else:
        signature = "the signature was not checked without a key: set signing.public_key"
        if policy.public_key:
            signature = f"the signature matches the key {policy.key_name}"
        for each, check in found:
            result = check.refusal or f"all files are as pushed, and {signature}"
            click.echo(f"{each.model} {each.number}: {check.state}: {result}", err=bool(check.refusal))
    if any(check.refusal for check in checks):
        sys.exit(EXIT_FAILURE)


@click.command()
@click.argument("version", type=int, required=False)
@model_option
@workspace_option
@config_option
@json_option
def rollback(version: int | None, model: str | None, workspace: str | None, config: Path | None, as_json: bool) -> None:
    """Make an older version of a model current again.

    Republishes VERSION under a new number, signs the copy and removes nothing. VERSION defaults to the newest
    verified version with another model than the newest version, so a second rollback undoes the first. If the model has
    labels, use `digits label stable VERSION` instead.
    """
    from registry.publishing import existing_versions, roll_back
    from registry.versions import read_provenance

    settings = settings_from_options(config, workspace=workspace)
    directory = find_serving_directory(settings, model)
    labels = _labels(directory)
    before = existing_versions(directory)
    key = settings.prepare_private_key(say=partial(click.echo, err=True))
    published = roll_back(directory, version, settings.trust_policy, key)
    replaced = before[-1].number
    provenance = read_provenance(published.directory)
    target = provenance and provenance.rolled_back_to
    if as_json:
        values = {"rolled_back_to": target, "replaced": replaced, "labels": labels}
        print_json({**_version_values(published), **values})
        return
    click.echo(f"{published.model}: version {published.number} is now current, a copy of {target}.")
    click.echo(f"It replaces version {replaced}, which is kept.")
    if labels:
        click.echo(f"Labels choose what is served: run `digits label LABEL {published.number}` to serve it.")


@click.command()
@click.option("--keep", type=click.IntRange(min=1), required=True, help="Number of newest versions to keep.")
@model_option
@click.option("--dry-run", is_flag=True, help="Print what would be removed without removing it.")
@workspace_option
@config_option
@json_option
def prune(
    keep: int, model: str | None, dry_run: bool, workspace: str | None, config: Path | None, as_json: bool
) -> None:
    """Remove old versions of a model.

    Keeps the newest versions, the current version, the baseline (the target of a rollback) and the versions that
    DataGate may need for the next run. Fails if it would remove a version that has a label.
    """
    from registry.publishing import prunable_versions
    from registry.publishing import prune as prune_versions

    settings = settings_from_options(config, workspace=workspace)
    directory, policy = find_serving_directory(settings, model), settings.trust_policy
    removed = prunable_versions(directory, keep, policy)
    _refuse_labeled(directory, keep, removed)
    if not dry_run:
        removed = prune_versions(directory, keep, policy)
    numbers = {version.number for version in removed}
    kept = [values for values in _describe_versions(directory, policy) if values["version"] not in numbers]
    if as_json:
        values = {"removed": [_version_values(version) for version in removed], "dry_run": dry_run}
        print_json({**values, "kept": kept})
        return
    for version in removed:
        click.echo(f"{'would remove' if dry_run else 'removed'} {version.model} {version.number}")
    for values in kept:
        is_new = values in kept[-keep:]
        reason = _roles(values) or (f"one of the newest {keep}" if is_new else "DataGate may compare with its data")
        click.echo(f"{'would keep' if dry_run else 'kept'} {values['model']} {values['version']}: {reason}")


@click.command()
@click.argument("label", required=False)
@click.argument("version", type=int, required=False)
@click.option("--remove", metavar="LABEL", help="Remove this label.")
@model_option
@workspace_option
@config_option
@json_option
def label(
    label: str | None,
    version: int | None,
    remove: str | None,
    model: str | None,
    workspace: str | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """List the labels of a model, or assign LABEL to VERSION, by default the newest verified one.

    Without labels, TF Serving serves the newest version. With labels, it serves versions that have a label or had one
    before the last change; a newly pushed version is not served until it has a label. `digits label canary` tries
    out the newest version; `digits label stable VERSION` promotes a version or rolls back to it. docs/serving.md
    explains the setup.
    """
    if remove is not None and label is not None:
        raise click.UsageError(f"Give either --remove {remove} or the label {label}, not both.")
    from registry.labels import read_labels, set_label
    from registry.publishing import existing_versions, usable_version

    settings = settings_from_options(config, workspace=workspace)
    directory = find_serving_directory(settings, model)
    serving_root, name = directory.parent, directory.name
    versions = existing_versions(directory)
    changed = remove if label is None else label
    if changed is None:
        labels = read_labels(serving_root, name)
    else:
        target = None if label is None else usable_version(directory, version, settings.trust_policy).number

        def show_wait(seconds: float) -> None:
            click.echo(f"{changed} moves to {target} in {seconds:.0f} s, when all servers have loaded it.", err=True)

        labels = set_label(serving_root, name, changed, target, show_wait)
    if as_json:
        assigned = dict(sorted(labels.labels.items()))
        print_json({"model": name, "labels": assigned, "loaded": list(labels.loaded)})
    else:
        _show_labels(name, labels, versions)


def _show_labels(model: str, labels: "ModelLabels", versions: "list[Version]") -> None:
    if not labels.labels:
        click.echo(f"{model} has no labels: its newest version, {versions[-1].number}, is served.")
        return
    pushed = {each.number: f"{each.pushed.astimezone():%Y-%m-%d %H:%M}" for each in versions}
    rows = [(name, str(number), pushed.get(number, "missing")) for name, number in sorted(labels.labels.items())]
    print_table(("label", "version", "pushed"), rows)
    loaded = ", ".join(map(str, labels.loaded))
    click.echo(f"\nTF Serving loads {loaded}; requests without a label go to {max(labels.loaded, default='')}.")


def _describe_versions(serving_directory: Path, policy: "TrustPolicy") -> Iterator[dict[str, Any]]:
    """Yields the JSON values of each version of a model, oldest first."""
    from registry.provenance import DamagedVersionError
    from registry.versions import find_baseline, list_versions, read_provenance, version_fingerprint

    found = list_versions(serving_directory)
    checks = {version: policy.check(version.directory) for version in found}
    usable = [version for version, check in checks.items() if policy.allow_unverified or not check.refusal]
    current = usable[-1] if usable else None
    baseline = find_baseline(serving_directory, version_fingerprint(current), policy) if current else None
    for version, check in checks.items():
        provenance = None
        with suppress(DamagedVersionError):
            provenance = read_provenance(version.directory)
        ingredients = provenance.origin.ingredients if provenance else None
        yield {
            **_version_values(version),
            "test_accuracy": _test_accuracy(provenance) if provenance else None,
            "span": ingredients.data.span if ingredients else None,
            "state": check.state,
            "problem": check.refusal,
            "current": version == current,
            "baseline": version == baseline,
            "rolled_back_to": provenance.rolled_back_to if provenance else None,
            "provenance": provenance.model_dump(mode="json") if provenance else None,
        }


def _version_values(version: "Version") -> dict[str, Any]:
    return {
        "model": version.model,
        "version": version.number,
        "pushed": version.pushed.isoformat(),
        "bytes": version.num_bytes,
        "directory": str(version.directory),
    }


def _test_accuracy(provenance: "Provenance") -> float | None:
    evaluations = (gate.metrics for gate in provenance.origin.gates if gate.gate == "Evaluator")
    return next((metrics.get("accuracy", {}).get("all") for metrics in evaluations), None)


def _roles(values: Mapping[str, Any]) -> str:
    roles = {
        "current": values["current"],
        "baseline": values["baseline"],
        f"rollback of {values['rolled_back_to']}": values["rolled_back_to"] is not None,
    }
    return ", ".join(role for role, holds in roles.items() if holds)


def _labels(serving_directory: Path) -> dict[str, int]:
    from registry.labels import read_labels

    return dict(read_labels(serving_directory.parent, serving_directory.name).labels)


def _refuse_labeled(directory: Path, keep: int, prunable: "list[Version]") -> None:
    from registry.versions import list_versions

    numbers = {version.number for version in prunable}
    labeled = [(number, label) for label, number in _labels(directory).items() if number in numbers]
    if labeled:
        oldest, label = min(labeled)
        enough = sum(version.number >= oldest for version in list_versions(directory))
        raise UsageError(
            f"--keep {keep}: this would remove version {oldest}, which has the label {label}; expected {enough} or "
            "more, or move the label to another version first: `digits label`."
        )


def _model_directories(settings: "Settings") -> list[Path]:
    return sorted(settings.serving_root.iterdir()) if settings.serving_root.is_dir() else []


def find_serving_directory(settings: "Settings", model: str | None) -> Path:
    """Returns the serving folder of a model, by default of that in the settings.

    Raises:
        click.BadParameter: No version of the model has been pushed.
    """
    from registry.nearest_names import nearest_names
    from registry.versions import list_versions

    if model is None:
        return settings.serving_directory
    pushed = [directory.name for directory in _model_directories(settings) if list_versions(directory)]
    if model not in pushed:
        known = nearest_names(model, pushed) if pushed else "no model has been pushed there yet"
        raise click.BadParameter(f"{model!r} is not in {settings.serving_root}; {known}.", param_hint="--model")
    return settings.serving_root / model
