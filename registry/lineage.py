"""The lineage of a pushed version: what it was made from, and who uses it.

This module reads what ships with the version and with the versions beside it. `pipeline.local.lineage` adds what ML
Metadata knows.
"""

from contextlib import suppress
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from registry.labels import LabelError, read_labels
from registry.provenance import (
    EXTRA_FOLDER,
    VERDICT_TYPE,
    DamagedVersionError,
    DataOrigin,
    Origin,
    Provenance,
    read_provenance,
)
from registry.signing import State, TrustPolicy
from registry.versions import (
    SAVED_MODEL_FILE,
    list_versions,
    newest_usable,
    version_fingerprint,
    version_number,
)

_SCHEMA_FILE = f"{EXTRA_FOLDER}/schema.pbtxt"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class Ancestor(_Record):
    """An artifact that a version was made from, or the pushed model itself.

    Attributes:
        id: Its ID in ML Metadata; without ML Metadata, its position.
        type: Its type in TFX, such as `Model`.
        step: The step that wrote it; empty if unknown.
        run: The run in which the step ran, an earlier one if the artifact came from the cache; None if unknown.
        uri: Where it was written; None if unknown.
        exists: Whether it is still there; None if unknown.
        fingerprint: Hex SHA-256 that identifies its content; None if unknown.
        data: The data that it was made from, if it is the output of MnistExampleGen.
        inputs: IDs of the artifacts that the step read.
    """

    id: int
    type: str
    step: str
    run: str | None = None
    uri: str | None = None
    exists: bool | None = None
    fingerprint: str | None = None
    data: DataOrigin | None = None
    inputs: tuple[int, ...] = ()


class Users(_Record):
    """Who uses a version.

    Attributes:
        current: Whether it is the newest version that may be used.
        labels: Its labels in `models.config`.
        copies: Numbers of the newer versions that hold the same model, such as those of `digits rollback`.
        baseline_of: Numbers of the versions that were compared with it.
    """

    current: bool = False
    labels: tuple[str, ...] = ()
    copies: tuple[int, ...] = ()
    baseline_of: tuple[int, ...] = ()


class Lineage(_Record):
    """The lineage of a version.

    Attributes:
        model: Name of the model.
        version: Its number; None if neither the folder nor the provenance states one.
        directory: Folder of the version.
        metadata: Database of ML Metadata with the artifacts; None if they come from the provenance.
        published: Time of the push; None if unknown.
        state: Result of the check of its files and signature; None if the version has been removed.
        problem: Why the version must not be used, and its provenance not be trusted; None if nothing is wrong.
        rolled_back_to: Number of the version that it copies.
        origin: Where the model comes from.
        artifacts: What the version was made from, in the order of creation; the last one is the pushed model.
        users: Who uses it.
        missing: What is not known and why, one sentence each.
    """

    model: str
    version: int | None
    directory: Path
    metadata: Path | None = None
    published: datetime | None = None
    state: State | None = None
    problem: str | None = None
    rolled_back_to: int | None = None
    origin: Origin = Origin()
    artifacts: tuple[Ancestor, ...] = ()
    users: Users = Users()
    missing: tuple[str, ...] = ()


def trace_version(directory: Path, policy: TrustPolicy, *, anywhere: bool = False) -> Lineage:
    """Returns what the provenance of a version and the versions beside it state.

    Args:
        directory: Folder of the version; it need not exist.
        policy: Which versions may be used.
        anywhere: Whether the folder may be a copy in any place and under any name.

    Raises:
        SigningKeyError: The public key is not readable as a key.
        OSError: A file cannot be read.
    """
    model, number = directory.parent.name, version_number(directory.name)
    if not (directory / SAVED_MODEL_FILE).exists():
        removed = f"{directory}: the version has been removed, and its provenance with it."
        return Lineage(model=model, version=number, directory=directory, missing=(removed,))
    provenance = None
    # The check of the version reports the damage.
    with suppress(DamagedVersionError):
        provenance = read_provenance(directory)
    if provenance and anywhere:
        model, number = provenance.model or model, provenance.version
    users, missing = Users(), _gaps(provenance) if provenance else []
    if (model, str(number)) == (directory.parent.name, directory.name):
        try:
            users = _users(directory, policy)
        except LabelError as error:
            missing.append(str(error))
    else:
        missing.append(f"{directory}: a copy, so its users are unknown.")
    check = policy.check(directory, anywhere=anywhere)
    return Lineage(
        model=model,
        version=number,
        directory=directory,
        published=provenance and provenance.published,
        state=check.state,
        problem=check.refusal,
        rolled_back_to=provenance and provenance.rolled_back_to,
        origin=provenance.origin if provenance else Origin(),
        artifacts=_artifacts(provenance) if provenance else (),
        users=users,
        missing=tuple(missing),
    )


def _gaps(provenance: Provenance) -> list[str]:
    ingredients = provenance.origin.ingredients
    if ingredients is None:
        return ["The provenance names no data and no code."]
    if ingredients.transform_graph is None:
        return ["The provenance is from an earlier release, without the Transform graph and the baseline."]
    return []


def _artifacts(provenance: Provenance) -> tuple[Ancestor, ...]:
    """Returns the artifacts that a provenance identifies; the steps that write them are those of this pipeline."""
    origin, ingredients = provenance.origin, provenance.origin.ingredients
    found = []
    if ingredients:
        schema = provenance.files.get(_SCHEMA_FILE)
        found = [
            Ancestor(id=1, type="Schema", step="ImportSchemaGen", fingerprint=schema),
            Ancestor(id=2, type="Examples", step="MnistExampleGen", data=ingredients.data, inputs=(1,)),
            Ancestor(
                id=3, type="TransformGraph", step="Transform", fingerprint=ingredients.transform_graph, inputs=(1, 2)
            ),
        ]
    model = Ancestor(
        id=4,
        type="Model",
        step="Trainer",
        uri=origin.model_uri,
        fingerprint=provenance.model_fingerprint,
        inputs=tuple(artifact.id for artifact in found),
    )
    verdicts = [
        Ancestor(id=number, type=VERDICT_TYPE, step=gate.gate) for number, gate in enumerate(origin.gates, start=5)
    ]
    inputs = tuple(artifact.id for artifact in (model, *verdicts))
    pushed = Ancestor(id=inputs[-1] + 1, type="PushedModel", step="Pusher", run=origin.pipeline_run, inputs=inputs)
    return (*found, model, *verdicts, pushed)


def _users(directory: Path, policy: TrustPolicy) -> Users:
    """Returns who uses a version in a serving folder.

    Raises:
        LabelError: `models.config` is not readable.
    """
    versions = {version.number: version for version in list_versions(directory.parent)}
    version = versions.pop(int(directory.name))
    fingerprint = version_fingerprint(version)
    compared = []
    for number, other in versions.items():
        with suppress(DamagedVersionError):
            provenance = read_provenance(other.directory)
            # A rollback has the origin of the version that it copies.
            if provenance and provenance.rolled_back_to is None:
                compared += [number] if provenance.origin.baseline_version == version.number else []
    labels = read_labels(directory.parents[1], version.model).labels
    return Users(
        current=version == newest_usable(directory.parent, policy),
        labels=tuple(sorted(label for label, number in labels.items() if number == version.number)),
        copies=tuple(
            number
            for number, other in versions.items()
            if number > version.number and version_fingerprint(other) == fingerprint
        ),
        baseline_of=tuple(compared),
    )
