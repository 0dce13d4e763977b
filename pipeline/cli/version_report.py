"""What is known of each pushed version, for people and for programs."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.evaluator.measurements import ACCURACY
from pipeline.cli.printing import percent
from pipeline.local.run_result import ALL_IMAGES, EVALUATOR
from registry.provenance import DamagedVersionError, Provenance
from registry.versions import Version, find_baseline, list_versions, read_provenance, version_fingerprint

HEADER = ("model", "version", "pushed", "size", "accuracy", "span", "role")
"""Columns of `VersionReport.cells`."""


@dataclass(frozen=True)
class VersionReport:
    """A version, and what is known of it.

    Attributes:
        version: The version.
        provenance: What it says of itself, if it does.
        damage: What is wrong with its provenance, if something is.
        is_current: Whether a server that loads the newest version loads this one.
        is_baseline: Whether the current version had to measure up to it, and a rollback would go to it.
    """

    version: Version
    provenance: Provenance | None
    damage: str
    is_current: bool
    is_baseline: bool

    @property
    def accuracy(self) -> float | None:
        """Accuracy on test, 0 to 1."""
        gates = self.provenance.origin.gates if self.provenance else ()
        found = (gate.metrics.get(ACCURACY, {}) for gate in gates if gate.gate == EVALUATOR)
        return next((slices[ALL_IMAGES] for slices in found if ALL_IMAGES in slices), None)

    @property
    def span(self) -> int | None:
        """Span of the data that its model has learnt from."""
        ingredients = self.provenance.origin.ingredients if self.provenance else None
        return ingredients.data.span if ingredients else None

    @property
    def rolled_back_to(self) -> int | None:
        """The version of which it is a copy."""
        return self.provenance.rolled_back_to if self.provenance else None

    @property
    def roles(self) -> str:
        """What it is, for people."""
        roles = {
            "current": self.is_current,
            "baseline": self.is_baseline,
            f"rollback of {self.rolled_back_to}": self.rolled_back_to is not None,
            "damaged provenance": self.damage,
        }
        return ", ".join(role for role, holds in roles.items() if holds)

    def values(self) -> dict[str, Any]:
        """Returns what JSON says of it."""
        return {
            **version_values(self.version),
            "test_accuracy": self.accuracy,
            "span": self.span,
            "current": self.is_current,
            "baseline": self.is_baseline,
            "rolled_back_to": self.rolled_back_to,
            "provenance": self.provenance.model_dump(mode="json") if self.provenance else None,
            "damage": self.damage or None,
        }

    def cells(self) -> tuple[str, ...]:
        """Returns what the table says of it."""
        return (
            self.version.model,
            str(self.version.number),
            f"{self.version.pushed.astimezone():%Y-%m-%d %H:%M:%S}",
            f"{self.version.num_bytes / 1e6:.1f} MB",
            percent(self.accuracy),
            "" if self.span is None else str(self.span),
            self.roles,
        )


def version_values(version: Version) -> dict[str, Any]:
    """Returns what JSON says of a version by itself."""
    return {
        "model": version.model,
        "version": version.number,
        "pushed": version.pushed.isoformat(),
        "bytes": version.num_bytes,
        "directory": str(version.directory),
    }


def report_versions(serving_directory: Path) -> Iterator[VersionReport]:
    """Yields the versions of a model with what is known of them, the oldest first.

    Args:
        serving_directory: Folder of the model's versions; it need not be there.
    """
    found = list_versions(serving_directory)
    baseline = find_baseline(serving_directory, version_fingerprint(found[-1])) if found else None
    for version in found:
        provenance, damage = None, ""
        try:
            provenance = read_provenance(version.directory)
        except DamagedVersionError as error:
            damage = str(error)
        yield VersionReport(version, provenance, damage, version == found[-1], version == baseline)
