"""Settings as a report shows them: flat, and only those that differ from their defaults."""

from collections.abc import Iterator, Mapping
from typing import Any

from components.run_report.report import ChangedSetting


def changed_settings(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> tuple[ChangedSetting, ...]:
    """Returns the settings of a run that differ from their defaults.

    Args:
        values: Settings of a run, perhaps from an earlier release, in sections.
        defaults: All settings of this release; the default of any other setting is None.
    """
    expected = dict(flatten(defaults))
    return tuple(
        ChangedSetting(name=name, value=value, default=expected.get(name))
        for name, value in flatten(values)
        if value != expected.get(name)
    )


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields values that are nested in sections by their full names, such as `trainer.epochs`."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
