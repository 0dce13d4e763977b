"""Fingerprints of the project's code, so that an edit reruns only the steps that use it.

TFX's cache compares the inputs and the execution properties of a step, not the code that a step imports. Therefore a
fingerprint of the code is an execution property.
"""

import ast
import functools
import hashlib
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import grimp


def code_fingerprints(modules: Mapping[str, str]) -> dict[str, str]:
    """Returns the SHA-256, in hex, of the code of each module and of its direct and indirect imports.

    Only imports from the top-level packages of the modules, such as `components`, and from `registry` count; comments
    and layout do not. Files beside a module with its name, such as `report.html.jinja` of `report.py`, belong to it.

    Args:
        modules: Name of the module by step.

    Returns:
        SHA-256 by step.
    """
    packages = {module.partition(".")[0] for module in modules.values()}
    graph = grimp.build_graph("registry", *packages, cache_dir=None)
    # Steps share most of what they import.
    read_code = functools.cache(_code)

    def fingerprint(module: str) -> str:
        digest = hashlib.sha256()
        for name in sorted({module} | graph.find_upstream_modules(module)):
            digest.update(name.encode() + b"\0" + read_code(name) + b"\0")
        return digest.hexdigest()

    return {step: fingerprint(module) for step, module in modules.items()}


def _code(module: str) -> bytes:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{module} has no source file.", name=module)
    source = Path(spec.origin)
    templates = [file.read_bytes() for file in sorted(source.parent.glob(f"{source.stem}.*")) if file != source]
    return b"\0".join([ast.dump(ast.parse(source.read_text(encoding="utf-8"))).encode(), *templates])
