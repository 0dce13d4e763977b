"""Fingerprints of the project's code, so that an edit reruns only the steps that use it.

TFX's cache compares the inputs and the execution properties of a step, not the code that a step imports. Therefore a
fingerprint of the code is an execution property.
"""

import ast
import hashlib
from importlib.util import find_spec
from pathlib import Path

import grimp


def code_fingerprint(module: str) -> str:
    """Returns the SHA-256, in hex, of the code of a module and of its direct and indirect imports.

    Only imports from its top-level package, such as `components`, and from `registry` count; comments and layout do
    not.
    """
    graph = grimp.build_graph(module.partition(".")[0], "registry", cache_dir=None)
    digest = hashlib.sha256()
    for name in sorted({module} | graph.find_upstream_modules(module)):
        digest.update(name.encode() + b"\0" + ast.dump(ast.parse(_source(name))).encode() + b"\0")
    return digest.hexdigest()


def _source(module: str) -> str:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{module} has no source file.", name=module)
    return Path(spec.origin).read_text(encoding="utf-8")
