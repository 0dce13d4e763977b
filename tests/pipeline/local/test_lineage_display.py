import re
from pathlib import Path
from typing import Any

import pytest

from pipeline.local.lineage_display import render_mermaid, render_tree
from registry.lineage import Ancestor, Lineage, Users
from registry.provenance import DataOrigin, GateRecord, Ingredients, Origin, Software
from registry.signing import State

DATA = DataOrigin(uri="/data/span-3", span=3, fingerprint="ab" * 32)
ARTIFACTS = (
    Ancestor(id=1, type="Schema", step="ImportSchemaGen", run="run 1", fingerprint="12" * 32),
    Ancestor(id=2, type="Examples", step="MnistExampleGen", run="run 1", uri="/root/2", data=DATA, inputs=(1,)),
    Ancestor(id=5, type="digits.Verdict", step="DataGate", inputs=(1, 2), exists=False),
    Ancestor(id=8, type="Model", step="", inputs=(2,)),
    Ancestor(id=9, type="PushedModel", step="Pusher", inputs=(5, 8)),
)
ORIGIN = Origin(
    pipeline_run="run 2",
    ingredients=Ingredients(data=DATA, code={"Trainer": "cd" * 32, "Pusher": "ef" * 32}),
    settings={"trainer": {"epochs": 8, "preparation": "ink"}},
    software=Software(version="0.1.0", revision="abc", python="3.11.7", packages={"tfx": "1.21.0", "click": "8"}),
    gates=(GateRecord(gate="DataGate", passed=True, metrics={}),),
    baseline_version=16,
)
LINEAGE = Lineage(
    model="digits",
    version=18,
    directory=Path("/serving/digits/18"),
    metadata=Path("/work/metadata.sqlite"),
    state=State.VERIFIED,
    rolled_back_to=17,
    origin=ORIGIN,
    artifacts=ARTIFACTS,
    users=Users(current=True, labels=("stable",), copies=(19, 20), baseline_of=(21,)),
    missing=("The metrics.",),
)
TREE = """\
digits 18: current, label stable, verified
├── folder /serving/digits/18
├── rollback, a copy of 17
├── pushed by run run 2
├── compared with baseline 16
├── made from, according to ML Metadata in /work/metadata.sqlite
│   ├── Verdict of DataGate; passed; no longer there
│   │   ├── Schema of ImportSchemaGen; fingerprint 121212121212; from run run 1
│   │   └── Examples of MnistExampleGen; /root/2; from run run 1; from Schema of ImportSchemaGen above
│   │       └── data /data/span-3; span 3; fingerprint abababababab
│   └── Model; from Examples of MnistExampleGen above
├── settings
│   └── trainer: epochs=8, preparation=ink
├── code
│   ├── digit-classifier 0.1.0 (abc), Python 3.11.7
│   └── Trainer cdcdcdcdcdcd, Pusher efefefefefef
├── packages
│   └── click 8, tfx 1.21.0
├── used by
│   ├── the current version
│   ├── label stable
│   ├── version 19, a copy
│   ├── version 20, a copy
│   └── version 21, compared with it as baseline
└── missing
    └── The metrics.
"""
MERMAID = """\
flowchart LR
    version["digits 18<br>/serving/digits/18"]
    a1["Schema<br>ImportSchemaGen<br>fingerprint 121212121212<br>from run run 1"]
    a2["Examples<br>MnistExampleGen<br>/root/2<br>from run run 1"]
    a1 --> a2
    data[("data /data/span-3<br>span 3<br>fingerprint abababababab")]
    data --> a2
    a5["Verdict<br>DataGate<br>passed<br>no longer there"]
    a1 --> a5
    a2 --> a5
    a8["Model"]
    a2 --> a8
    a5 --> version
    a8 --> version
    baseline["digits 16"]
    baseline -.->|"compared with"| version
    u0(["label stable"])
    version -.->|"label"| u0
    u1(["digits 19"])
    version -.->|"copy"| u1
    u2(["digits 20"])
    version -.->|"copy"| u2
    u3(["digits 21"])
    version -.->|"baseline of"| u3
"""
HOSTILE = 'gs://b/[x]{y}|`"</script>#quot;%% & é\n\x1b[31m end'

_LABEL = r'"(?:[^"<>&#`\[\]{}|%;\x00-\x1f]|<br>|#\d+;)*"'
_NODE = re.compile(rf"    (\w+)(?:\[{_LABEL}\]|\[\({_LABEL}\)\]|\(\[{_LABEL}\]\))")
_EDGE = re.compile(rf"    (\w+) (?:-->|-\.->\|{_LABEL}\|) (\w+)")


def test_the_tree() -> None:
    assert render_tree(LINEAGE) == TREE


def test_the_flowchart() -> None:
    assert render_mermaid(LINEAGE) == MERMAID


def hostile() -> Lineage:
    """A lineage whose texts contain whatever has a meaning somewhere."""
    data = DataOrigin(uri=HOSTILE, span=0, fingerprint=HOSTILE)
    artifacts = (
        Ancestor(id=1, type=HOSTILE, step=HOSTILE, uri=HOSTILE, data=data),
        Ancestor(id=2, type="PushedModel", step="Pusher", inputs=(1,)),
    )
    values: dict[str, Any] = {"model": HOSTILE, "directory": Path(HOSTILE), "problem": HOSTILE, "artifacts": artifacts}
    values |= {"users": Users(labels=(HOSTILE,)), "origin": ORIGIN.model_copy(update={"pipeline_run": HOSTILE})}
    return LINEAGE.model_copy(update=values)


@pytest.mark.parametrize("lineage", [LINEAGE, hostile(), Lineage(model="digits", version=None, directory=Path("/17"))])
def test_every_line_of_the_flowchart_is_valid(lineage: Lineage) -> None:
    first, *lines = render_mermaid(lineage).splitlines()
    assert first == "flowchart LR"
    nodes = {node[1] for line in lines if (node := _NODE.fullmatch(line))}
    edges = [(edge[1], edge[2]) for line in lines if (edge := _EDGE.fullmatch(line))]
    assert len(nodes) + len(edges) == len(lines), lines
    assert {end for edge in edges for end in edge} <= nodes


def test_a_label_of_the_flowchart_shows_the_text() -> None:
    shown = re.sub(r"#(\d+);", lambda code: chr(int(code[1])), render_mermaid(hostile()))
    assert 'gs://b/[x]{y}|`"</script>#quot;%% & é  [31m end' in shown


def test_the_tree_shows_texts_as_they_are_without_control_characters() -> None:
    tree = render_tree(hostile())
    assert 'data gs://b/[x]{y}|`"</script>#quot;%% & é  [31m end' in tree
    assert "\x1b" not in tree


def test_a_removed_version_without_any_record() -> None:
    lineage = Lineage(model="digits", version=17, directory=Path("/serving/digits/17"), missing=("All.",))
    assert render_tree(lineage) == ("digits 17: removed\n├── folder /serving/digits/17\n└── missing\n    └── All.\n")


def test_a_gate_that_was_switched_off_is_marked() -> None:
    gate = GateRecord(gate="DataGate", passed=True, enforced=False, metrics={})
    lineage = LINEAGE.model_copy(update={"origin": ORIGIN.model_copy(update={"gates": (gate,)})})
    assert "Verdict of DataGate; switched off;" in render_tree(lineage)


def test_what_a_person_has_accepted_is_shown() -> None:
    gate = GateRecord(gate="DataGate", passed=True, accepted=("all: upside down",), metrics={})
    lineage = LINEAGE.model_copy(update={"origin": ORIGIN.model_copy(update={"gates": (gate,)})})
    assert "Verdict of DataGate; passed; accepted by a person: all: upside down" in render_tree(lineage)
