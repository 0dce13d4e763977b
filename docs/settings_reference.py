"""Writes docs/settings.md, which lists all settings, from their definitions.

`.venv/bin/python -m docs.settings_reference` in the project root, after a change of a setting.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.settings.settings import PROFILES, PROJECT_ROOT, Settings

PAGE = PROJECT_ROOT / "docs" / "settings.md"

_INTRODUCTION = """# Settings

[run.md](run.md) describes how to set them: in a TOML file, in the environment or on the command line. Defaults of the
profiles `smoke` and `fast` are in parentheses. `.venv/bin/python -m docs.settings_reference` writes this page.
"""
_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
_KINDS = {"boolean": "`true`, `false`", "string": "text"}

_Schema = Mapping[str, Any]


def render() -> str:
    """Returns the page: a table of the general settings, and one for each section."""
    schema = Settings.model_json_schema()
    sections: dict[str, list[str]] = {}
    for name, setting in _settings(schema, schema["$defs"]):
        section, _, key = name.rpartition(".")
        default = _value(setting.get("default"))
        of_profiles = {profile: values.get(section, {}).get(key) for profile, values in PROFILES.items()}
        others = ", ".join(f"{profile}: {_value(value)}" for profile, value in of_profiles.items() if value is not None)
        cells = [f"`{key}`", f"{default} ({others})" if others else default, _range(setting), setting["description"]]
        sections.setdefault(section, []).append(f"| {' | '.join(cells)} |\n")
    head = "| setting | default | values | |\n|---|---|---|---|\n"
    titles = {section: f"## `{section}`\n\n" if section else "" for section in sections}
    return "\n".join([_INTRODUCTION, *(titles[section] + head + "".join(rows) for section, rows in sections.items())])


def _settings(schema: _Schema, definitions: _Schema, prefix: str = "") -> Iterator[tuple[str, _Schema]]:
    """Yields the full name and the JSON schema of each setting, general ones first."""
    sections = {}
    for key, setting in schema["properties"].items():
        if "$ref" in setting:
            sections[f"{prefix}{key}."] = setting["$ref"]
        elif "additionalProperties" in setting:
            sections[f"{prefix}{key}.STEP."] = setting["additionalProperties"]["$ref"]
        else:
            yield f"{prefix}{key}", setting
    for name, reference in sections.items():
        yield from _settings(definitions[reference.rpartition("/")[2]], definitions, name)


def _value(value: object) -> str:
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, list):
        return ", ".join(map(_value, value))
    if isinstance(value, str):
        return f"`{value.replace(f'{PROJECT_ROOT}/', '')}`"
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}"


def _range(setting: _Schema) -> str:
    [kind] = [kind for kind in setting.get("anyOf", [setting]) if kind["type"] != "null"]
    if "enum" in kind:
        return ", ".join(_value(value) for value in kind["enum"] if value)
    bounds = [f"{sign} {kind[bound]:,}" for bound, sign in _BOUNDS.items() if bound in kind]
    return ", ".join(bounds) or _KINDS.get(kind["type"], kind["type"])


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
