"""Fingerprints of our own code, so that an edit reruns the steps that use it and no others.

TFX's cache compares the inputs and the execution properties of a step; it does not see the code that a step imports
from an installed package. Steps that run code of ours carry its fingerprint as an execution property.
"""

import ast
import hashlib
from importlib.util import find_spec
from pathlib import Path

import grimp


def code_fingerprint(module: str) -> str:
    """Fingerprints a module of ours and all modules of its package and of `registry` that it imports, directly or not.

    Comments and layout do not count, only what Python compiles.

    Args:
        module: Dotted name, such as `components.preprocessing`.

    Returns:
        Hex SHA-256.
    """
    graph = grimp.build_graph(module.partition(".")[0], "registry", cache_dir=None)
    digest = hashlib.sha256()
    for name in sorted({module} | graph.find_upstream_modules(module)):
        digest.update(name.encode() + b"\0" + ast.dump(ast.parse(_source(name))).encode() + b"\0")
    return digest.hexdigest()


def _source(module: str) -> str:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{module} has no source file to fingerprint.", name=module)
    return Path(spec.origin).read_text(encoding="utf-8")
