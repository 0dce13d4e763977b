"""Every command in README and the guides is valid, and runs in a test or says why not."""

import importlib
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from pipeline.cli.main import main
from pipeline.cli.options import settings_from_options
from pipeline.settings.settings import Settings, load_settings
from tests.support.documentation import PROJECT_ROOT, SHELL, Page, language_of, read_pages

PAGES = [pytest.param(page, id=page.path) for page in read_pages()]
PROGRAMS = {".venv/bin/digits", ".venv/bin/python", "curl", "digits", "echo", "make", "openssl"}
"""What test_execution.py can run."""
TARGETS = set(re.findall(r"^([a-z-]+):.*##", (PROJECT_ROOT / "Makefile").read_text(), re.MULTILINE))
OTHER_PATHS = {"deploy/.env", "tests/a/test_b.py"}
"""A file that users may create, and an example."""
ADVICE = """tests/docs/test_execution.py cannot run this. In front of its block, write why, `<!-- not run: REASON -->`,
or which test runs it, `<!-- run by: tests/FILE.py::TEST -->`; tests/support/documentation.py describes markers."""


def words_of(text: str) -> list[str]:
    """Returns the first call in a shell command: the program and its arguments."""
    lexer = shlex.shlex(text.replace("\\\n", " "), posix=True, punctuation_chars=True)
    lexer.wordchars += "…{}[],:@%$"
    words: list[str] = []
    for word in lexer:
        if set(word) <= set("();<>|&"):
            break
        words.append(word)
    return words


def calls_of(page: Page) -> Iterator[tuple[click.Command, list[str]]]:
    """Yields the commands of the project in blocks and in text, with their arguments."""
    texts = [command.text for command in page.commands if command.language == SHELL]
    # Text may name an option without its value.
    texts += [re.sub(r"(--[a-z-]+)$", r"\1 …", span) for span in page.code_spans]
    for text in texts:
        if not re.match(r"(\.venv/bin/)?(digits|python -m benchmarks\.\w+|make)\b(?!\.)", text):
            continue
        program, *arguments = words_of(text)
        if program == "make":
            targets, variables = arguments[:1], dict(each.split("=", 1) for each in arguments[1:])
            assert set(targets) <= TARGETS, f"{page.path}: {text}"
            if "ARGS" in variables:
                yield main, [*targets, *shlex.split(variables["ARGS"])]
        elif program.endswith("python"):
            path = arguments[1].replace(".", "/")
            module = f"{arguments[1]}.__main__" if (PROJECT_ROOT / path).is_dir() else arguments[1]
            yield importlib.import_module(module).main, arguments[2:]
        else:
            yield main, arguments


def values_of(command: click.Command, arguments: list[str]) -> dict[str, Any]:
    """Returns the values of the options, as texts; one that does not exist is an error."""
    with click.Context(command, info_name=command.name) as context:
        if not isinstance(command, click.Group):
            return dict(command.make_parser(context).parse_args(arguments)[0])
        if not arguments or arguments[0].startswith("-"):
            return {}
        _, subcommand, rest = command.resolve_command(context, arguments)
    assert subcommand
    return values_of(subcommand, rest)


def test_every_page_is_in_the_table_of_contents() -> None:
    pages = {str(path.relative_to(PROJECT_ROOT)) for path in (PROJECT_ROOT / "docs").glob("*.md")}
    assert pages <= {page.path for page in read_pages()}


@pytest.mark.parametrize("page", PAGES)
def test_every_fence_states_its_language(page: Page) -> None:
    """So that a command does not look like output."""
    assert [token.content for token in page.blocks if not language_of(token)] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_command_runs_in_a_test_or_says_why_not(page: Page) -> None:
    for command in page.commands:
        if not command.markers and command.language == SHELL:
            assert command.text.split()[0] in PROGRAMS, f"{command}\n{ADVICE}"
        assert len(command.markers) <= 1, f"{command}\nhas several markers."


@pytest.mark.parametrize("page", PAGES)
def test_every_marker_is_about_a_command_and_names_a_test_that_exists(page: Page) -> None:
    used = {marker for command in page.commands for marker in command.markers}
    assert [marker for marker in page.markers if marker not in used] == []
    for marker in page.markers:
        if marker.kind == "run by":
            file, _, test = marker.text.partition("::")
            assert f"def {test or 'test_'}" in (PROJECT_ROOT / file).read_text(encoding="utf-8"), marker


@pytest.mark.parametrize("page", PAGES)
def test_syntax(page: Page) -> None:
    for command in page.commands:
        if command.language == SHELL:
            process = subprocess.run(["bash", "-n"], input=command.text, capture_output=True, text=True, check=False)
            assert (process.returncode, process.stderr) == (0, ""), command
        else:
            compile(command.text, f"{page.path}:{command.line}", "exec")


@pytest.mark.parametrize("page", PAGES)
def test_options_and_settings_exist(page: Page) -> None:
    for command, arguments in calls_of(page):
        try:
            values = values_of(command, arguments)
            assignments = tuple(values.get("assignments", ()))
            settings_from_options(Path(os.devnull), assignments, profile=values.get("profile"))
        except click.ClickException as error:
            pytest.fail(f"{page.path}: {shlex.join(arguments)}: {error.format_message()}")


@pytest.mark.parametrize("page", PAGES)
def test_settings_in_text_exist(page: Page) -> None:
    sections = {name: field.annotation for name, field in Settings.model_fields.items()}
    for span in page.code_spans:
        section, _, key = span.removeprefix("--set ").partition("=")[0].partition(".")
        fields = getattr(sections.get(section), "model_fields", None)
        assert not fields or not key or key.split(".")[0] in fields, f"{page.path}: {span}"


@pytest.mark.parametrize("page", PAGES)
def test_settings_files_are_valid(page: Page, tmp_path: Path) -> None:
    for token in page.blocks:
        if language_of(token) == "toml":
            (tmp_path / "digits.toml").write_text(token.content, encoding="utf-8")
            load_settings(file=tmp_path / "digits.toml")


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_and_headings(page: Page) -> None:
    anchors = {each.path: each.anchors for each in read_pages()}
    for link in page.links:
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (PROJECT_ROOT / page.path).parent / path if path else PROJECT_ROOT / page.path
        assert target.exists(), f"{page.path}: {link}"
        if anchor:
            assert anchor in anchors[str(target.resolve().relative_to(PROJECT_ROOT))], f"{page.path}: {link}"


@pytest.mark.parametrize("page", PAGES)
def test_paths_in_text_exist(page: Page) -> None:
    folders = "benchmarks|components|data|deploy|docs|pipeline|registry|serving|tests"
    paths = {span for span in page.code_spans if re.fullmatch(rf"({folders})/[\w./-]+", span)} - OTHER_PATHS
    assert [path for path in paths if not (PROJECT_ROOT / path).exists()] == []


def test_readme_lists_all_commands() -> None:
    readme = read_pages()[0]
    (block,) = [token.content for token in readme.blocks if "digits new " in token.content and token.info == "text"]
    assert set(re.findall(r"digits ([a-z-]+)", block)) == set(main.commands)
