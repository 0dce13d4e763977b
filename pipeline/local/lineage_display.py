"""Shows the lineage of a version as a tree of text, or as a flowchart of Mermaid."""

import re
from collections.abc import Iterator

from rich.console import Console
from rich.tree import Tree

from registry.lineage import Ancestor, Lineage
from registry.provenance import PROJECT, VERDICT_TYPE, DataOrigin

_FINGERPRINT_DIGITS = 12
"""Of a SHA-256; JSON has all."""
_WIDTH = 10_000
"""A terminal wraps lines itself, so that paths can be copied."""
_MERMAID_SYNTAX = re.compile(r"[^\w .,:/=+@()-]")
"""Characters that are escaped in a label of Mermaid."""


def render_tree(lineage: Lineage) -> str:
    """Returns a tree, one line for each fact."""
    tree = Tree(_printable(_title(lineage)))
    for line in _push(lineage):
        tree.add(_printable(line))
    if lineage.artifacts:
        source = f"ML Metadata in {lineage.metadata}" if lineage.metadata else "the provenance in the version"
        _add_artifacts(tree.add(_printable(f"made from, according to {source}")), lineage)
    for title, lines in _sections(lineage).items():
        if lines:
            branch = tree.add(title)
            for line in lines:
                branch.add(_printable(line))
    console = Console(width=_WIDTH, color_system=None, highlight=False, markup=False, emoji=False)
    with console.capture() as capture:
        console.print(tree)
    return "".join(f"{line.rstrip()}\n" for line in capture.get().splitlines())


def render_mermaid(lineage: Lineage) -> str:
    """Returns a flowchart in the syntax of Mermaid 10 or later."""
    lines = ["flowchart LR", f"    version[{_label(_version(lineage), str(lineage.directory))}]"]
    for artifact in lineage.artifacts[:-1]:
        lines.append(f"    a{artifact.id}[{_label(*_name(artifact), *_details(artifact, lineage))}]")
        lines += [f"    a{number} --> a{artifact.id}" for number in artifact.inputs]
        if artifact.data:
            lines += [f"    data[({_label(*_data(artifact.data))})]", f"    data --> a{artifact.id}"]
    for pushed in lineage.artifacts[-1:]:
        lines += [f"    a{number} --> version" for number in pushed.inputs]
    if lineage.origin.baseline_version is not None:
        lines += [
            f"    baseline[{_label(f'{lineage.model} {lineage.origin.baseline_version}')}]",
            f"    baseline -.->|{_label('compared with')}| version",
        ]
    users = lineage.users
    edges = [("label", f"label {label}") for label in users.labels]
    edges += [("copy", f"{lineage.model} {number}") for number in users.copies]
    edges += [("baseline of", f"{lineage.model} {number}") for number in users.baseline_of]
    for number, (edge, user) in enumerate(edges):
        lines += [f"    u{number}([{_label(user)}])", f"    version -.->|{_label(edge)}| u{number}"]
    return "\n".join(lines) + "\n"


def _title(lineage: Lineage) -> str:
    roles = ["current"] if lineage.users.current else []
    roles += [f"label {label}" for label in lineage.users.labels]
    return f"{_version(lineage)}: {', '.join([*roles, lineage.state or 'removed'])}"


def _version(lineage: Lineage) -> str:
    return lineage.model if lineage.version is None else f"{lineage.model} {lineage.version}"


def _push(lineage: Lineage) -> Iterator[str]:
    origin = lineage.origin
    if lineage.problem:
        yield f"not trusted: {lineage.problem}"
    yield f"folder {lineage.directory}"
    if lineage.published:
        yield f"published {lineage.published.astimezone():%Y-%m-%d %H:%M:%S}"
    if lineage.rolled_back_to is not None:
        yield f"rollback, a copy of {lineage.rolled_back_to}"
    if origin.pipeline_run:
        yield f"pushed by run {origin.pipeline_run}"
    if origin.baseline_version is not None:
        yield f"compared with baseline {origin.baseline_version}"


def _add_artifacts(branch: Tree, lineage: Lineage) -> None:
    """Adds what the pushed model was made from, each artifact once."""
    artifacts = {artifact.id: artifact for artifact in lineage.artifacts}
    shown: set[int] = set()

    def add(parent: Tree, artifact: Ancestor) -> None:
        shown.add(artifact.id)
        above = [" of ".join(_name(artifacts[number])) for number in artifact.inputs if number in shown]
        also = [f"from {', '.join(above)} above"] if above else []
        node = parent.add(_printable("; ".join([" of ".join(_name(artifact)), *_details(artifact, lineage), *also])))
        if artifact.data:
            node.add(_printable("; ".join(_data(artifact.data))))
        add_inputs(node, artifact)

    def add_inputs(parent: Tree, artifact: Ancestor) -> None:
        for number in artifact.inputs:
            if number not in shown:
                add(parent, artifacts[number])

    add_inputs(branch, lineage.artifacts[-1])


def _name(artifact: Ancestor) -> list[str]:
    """Returns the type of an artifact and its step, if known."""
    return [part for part in (artifact.type.removeprefix("digits."), artifact.step) if part]


def _details(artifact: Ancestor, lineage: Lineage) -> Iterator[str]:
    for gate in lineage.origin.gates:
        if (artifact.type, artifact.step) == (VERDICT_TYPE, gate.gate):
            yield ("passed" if gate.passed else "refused") if gate.enforced else "switched off"
            yield from (f"accepted by a person: {text}" for text in gate.accepted)
    if artifact.fingerprint:
        yield _fingerprint(artifact.fingerprint)
    if artifact.uri:
        yield artifact.uri
    if artifact.exists is False:
        yield "no longer there"
    if artifact.run and artifact.run != lineage.origin.pipeline_run:
        yield f"from run {artifact.run}"


def _data(data: DataOrigin) -> list[str]:
    span = [f"span {data.span}"] if data.span else []
    return [f"data {data.uri}", *span, _fingerprint(data.fingerprint)]


def _fingerprint(value: str) -> str:
    return f"fingerprint {value[:_FINGERPRINT_DIGITS]}"


def _sections(lineage: Lineage) -> dict[str, list[str]]:
    """Returns the other parts of a lineage by title, as lines."""
    origin, users = lineage.origin, lineage.users
    code, packages = [], ""
    if software := origin.software:
        revision = f" ({software.revision})" if software.revision else ""
        code = [f"{PROJECT} {software.version}{revision}, Python {software.python}"]
        packages = ", ".join(f"{name} {version}" for name, version in sorted(software.packages.items()))
    if origin.ingredients:
        fingerprints = origin.ingredients.code.items()
        code.append(", ".join(f"{step} {value[:_FINGERPRINT_DIGITS]}" for step, value in fingerprints))
    return {
        "settings": [
            f"{section}: {', '.join(f'{key}={value}' for key, value in values.items())}"
            for section, values in origin.settings.items()
        ],
        "code": code,
        "packages": [packages] if packages else [],
        "used by": [
            *(["the current version"] if users.current else []),
            *(f"label {label}" for label in users.labels),
            *(f"version {number}, a copy" for number in users.copies),
            *(f"version {number}, compared with it as baseline" for number in users.baseline_of),
        ],
        "missing": list(lineage.missing),
    }


def _printable(text: str) -> str:
    """Returns text on one line, without control characters, which a damaged or forged version may contain."""
    return "".join(character if character.isprintable() else " " for character in text)


def _label(*parts: str) -> str:
    """Returns a label of Mermaid, one part on each line; characters with a meaning in Mermaid or HTML are escaped."""
    lines = (_MERMAID_SYNTAX.sub(lambda found: f"#{ord(found[0])};", _printable(part)) for part in parts)
    return f'"{"<br>".join(lines)}"'
