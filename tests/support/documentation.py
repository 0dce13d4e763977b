"""The commands in README and the guides, as a Markdown parser finds them.

An indented block contains shell commands; a fenced block states its language. Tests run every command, unless a marker
in front of its block says why not, or which test runs it:

    <!-- not run: needs a cluster -->
    <!-- run by: tests/containers/test_image.py::test_labels -->

A marker may name the commands of the block that it is about: `<!-- not run (git clone): … -->`. In front of the first
heading, it is about the whole page.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

PROJECT_ROOT = Path(__file__).parents[2]
SHELL = "bash"
LANGUAGES = (SHELL, "python")
_MARKER = re.compile(r"<!-- (?P<kind>not run|run by)(?: \((?P<start>.+?)\))?: (?P<text>.+?) -->")


@dataclass(frozen=True)
class Marker:
    """Why tests do not run a command here.

    Attributes:
        line: Its number.
        kind: `not run` or `run by`.
        start: How the commands start that the marker is about.
        text: The reason, or the test.
    """

    line: int
    kind: str
    start: str
    text: str


@dataclass(frozen=True)
class Command:
    """A command of a page.

    Attributes:
        page: Path in the project.
        line: Number of its first line.
        language: One of `LANGUAGES`.
        text: One command, on one or more lines; in Python, the whole block.
        markers: The markers about it.
    """

    page: str
    line: int
    language: str
    text: str
    markers: tuple[Marker, ...]

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.text}"


@dataclass(frozen=True)
class Page:
    """A page of the documentation.

    Attributes:
        path: Path in the project.
        tokens: What markdown-it makes of it.
    """

    path: str
    tokens: tuple[Token, ...]

    @property
    def blocks(self) -> list[Token]:
        return [token for token in self.tokens if token.type in ("code_block", "fence")]

    @property
    def markers(self) -> list[Marker]:
        return [marker for token in self.tokens if token.type == "html_block" for marker in self._markers_of(token)]

    @property
    def code_spans(self) -> list[str]:
        return [token.content for token in self._inline if token.type == "code_inline"]

    @property
    def links(self) -> list[str]:
        """Targets of links and images."""
        found = [token.attrGet("href") or token.attrGet("src") for token in self._inline]
        return [str(target) for target in found if target]

    @property
    def anchors(self) -> set[str]:
        """What GitHub makes of the headings."""
        texts = [
            following.content
            for token, following in zip(self.tokens, self.tokens[1:], strict=False)
            if token.type == "heading_open"
        ]
        return {re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in texts}

    @property
    def commands(self) -> Iterator[Command]:
        """The commands, in the order of the page."""
        of_page: list[Marker] = []
        of_block: list[Marker] = []
        has_heading = False
        for token in self.tokens:
            if token.type == "html_block":
                (of_block if has_heading else of_page).extend(self._markers_of(token))
                continue
            has_heading |= token.type == "heading_open"
            language = language_of(token)
            if language in LANGUAGES:
                for line, text in _split(token.content) if language == SHELL else [(0, token.content)]:
                    first = _line(token) + line + (token.type == "fence")
                    markers = [each for each in (*of_page, *of_block) if text.startswith(each.start)]
                    yield Command(self.path, first, language, text, tuple(markers))
            of_block = []

    @property
    def _inline(self) -> list[Token]:
        return [child for token in self.tokens if token.type == "inline" for child in token.children or ()]

    def _markers_of(self, token: Token) -> list[Marker]:
        markers = []
        for number, comment in enumerate(token.content.strip().splitlines(), start=_line(token)):
            match = _MARKER.fullmatch(comment.strip())
            if match is None:
                expected = "<!-- not run: REASON --> or <!-- run by: TEST -->"
                raise ValueError(f"{self.path}:{number}: expected {expected}, found {comment}")
            markers.append(Marker(number, match["kind"], match["start"] or "", match["text"]))
        return markers


def language_of(token: Token) -> str | None:
    """Returns the language of a block, empty if a fence does not state it; None if this is no block of code."""
    return {"code_block": SHELL, "fence": token.info.strip()}.get(token.type)


@cache
def read_page(path: str) -> Page:
    """Parses a page; `path` is its path in the project."""
    text = (PROJECT_ROOT / path).read_text(encoding="utf-8")
    return Page(path, tuple(MarkdownIt("commonmark").enable("table").parse(text)))


@cache
def read_pages() -> tuple[Page, ...]:
    """All pages: README first, then those of docs/ in the order of its table of contents."""
    contents = read_page("docs/README.md")
    linked = [(PROJECT_ROOT / "docs" / link).resolve().relative_to(PROJECT_ROOT) for link in contents.links]
    paths = ["README.md", "CONTRIBUTING.md", "data/README.md", contents.path, *map(str, linked)]
    return tuple(map(read_page, paths))


def _line(token: Token) -> int:
    return (token.map or [0])[0] + 1


def _split(block: str) -> Iterator[tuple[int, str]]:
    """Yields the commands of a shell block with their line numbers; indented lines continue a command."""
    lines: list[str] = []
    for number, line in enumerate(block.splitlines()):
        if lines and not line.startswith(" "):
            yield number - len(lines), "\n".join(lines)
            lines = []
        if line.strip() and not line.startswith("#"):
            lines.append(line)
    if lines:
        yield len(block.splitlines()) - len(lines), "\n".join(lines)
