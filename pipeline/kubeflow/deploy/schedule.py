"""When a recurring run starts: crontab's five fields, made into the six that Kubeflow Pipelines reads."""

import re
from calendar import monthrange
from dataclasses import dataclass

from pipeline.kubeflow.deploy.errors import WrongDeploymentError

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_DESCRIPTORS = {
    "@hourly": "0 0 * * * *",
    "@daily": "0 0 0 * * *",
    "@midnight": "0 0 0 * * *",
    "@weekly": "0 0 0 * * 0",
    "@monthly": "0 0 0 1 * *",
    "@yearly": "0 0 0 1 1 *",
    "@annually": "0 0 0 1 1 *",
}
_PART = re.compile(r"(?P<first>[^-/]+)(-(?P<last>[^-/]+))?(/(?P<step>[^-/]+))?")


@dataclass(frozen=True)
class _Field:
    name: str
    lowest: int
    highest: int
    names: tuple[str, ...] = ()
    """Of the values from `lowest` on."""

    def check(self, text: str) -> None:
        for part in text.split(","):
            match = _PART.fullmatch(part)
            if match is None:
                raise ValueError(f"{part!r} is no value, range (1-5), step (*/10) or list of these (1,15)")
            first = self._value(match["first"])
            last = None if match["last"] is None else self._value(match["last"])
            if last is not None and (first is None or last is None or first > last):
                raise ValueError(f"{part!r} is no range from low to high")
            if match["step"] is not None and not (match["step"].isdecimal() and int(match["step"])):
                raise ValueError(f"the step of {part!r} is no number above 0")

    def values(self, text: str) -> set[int]:
        """Returns those of a text that `check` lets pass."""
        found: set[int] = set()
        for match in filter(None, map(_PART.fullmatch, text.split(","))):
            first = self._value(match["first"])
            # A single value with a step means from there on.
            last = self._value(match["last"]) if match["last"] else None if match["step"] else first
            lowest = self.lowest if first is None else first
            highest = self.highest if last is None else last
            found.update(range(lowest, highest + 1, int(match["step"] or 1)))
        return found

    def _value(self, text: str) -> int | None:
        if text in ("*", "?"):
            return None
        if text.upper() in self.names:
            return self.lowest + self.names.index(text.upper())
        if not text.isdecimal() or not self.lowest <= int(text) <= self.highest:
            names = f" or {self.names[0]} to {self.names[-1]}" if self.names else ""
            sunday = ", where Sunday is 0" if self.names == _WEEKDAYS else ""
            raise ValueError(f"{text!r} is not {self.lowest} to {self.highest}{names}{sunday}")
        return int(text)


# Ranges and names: bounds of github.com/robfig/cron v1.2.0, spec.go, with which the API server parses.
_FIELDS = (
    _Field("second", 0, 59),
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of the week", 0, 6, _WEEKDAYS),
)


def kubeflow_cron(schedule: str) -> str:
    """Returns the cron expression that Kubeflow Pipelines takes.

    Its parser reads five fields as six without the last: `0 2 * * *` would run at two minutes past each hour.

    Args:
        schedule: Five fields as in crontab, six with seconds first, or a word such as `@daily`.

    Returns:
        Six fields, seconds first.

    Raises:
        WrongDeploymentError: It is none of these, a field has a value that it cannot have, or there is no such day.
    """
    fields = _DESCRIPTORS.get(schedule.strip(), schedule).split()
    if len(fields) == len(_FIELDS) - 1:
        fields = ["0", *fields]
    if len(fields) != len(_FIELDS):
        raise WrongDeploymentError(
            f"schedule {schedule!r}: expected minute, hour, day of the month, month and day of the week, such as "
            f"'0 2 * * 1-5', seconds before them if need be, or one of {', '.join(_DESCRIPTORS)}."
        )
    for field, text in zip(_FIELDS, fields, strict=True):
        try:
            field.check(text)
        except ValueError as error:
            raise WrongDeploymentError(f"schedule {schedule!r}: {field.name}: {error}.") from error
    if not _has_a_day(*fields[3:]):
        raise WrongDeploymentError(f"schedule {schedule!r}: day of the month: no such month has this day.")
    return " ".join(fields)


def _has_a_day(day: str, month: str, weekday: str) -> bool:
    if weekday not in ("*", "?"):
        # Either is enough.
        return True
    a_leap_year = 2024
    lengths = (monthrange(a_leap_year, each)[1] for each in _FIELDS[4].values(month))
    return min(_FIELDS[3].values(day)) <= max(lengths)


def describe_cron(cron: str) -> str:
    """Returns for people what six fields say, such as `at second 0, minute 0, hour 2`."""
    stated = [
        f"{field.name} {text}" for field, text in zip(_FIELDS, cron.split(), strict=True) if text not in ("*", "?")
    ]
    return f"at {', '.join(stated)}" if stated else "every second"
