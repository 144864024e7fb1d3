"""The modules whose code decides a run's numbers, and a hash of each.

Comments, docstrings and layout change no number, so the hash is over the syntax tree without them.
A function that is replaced at run time is not seen: the hash is of the files.
"""

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator
from importlib.machinery import ModuleSpec
from typing import Any, NamedTuple

ROOTS = ("mvae_jax.replicas", "mvae_jax.embed")  # what trains, and what embeds
# What these give is recorded itself: in config.json, as the data's SHA-256, as the files' SHA-256.
RECORDED_BY_VALUE = ("mvae_jax.config", "mvae_jax.datasets", "mvae_jax.rules", "mvae_jax.store")
NO_NUMBERS = ("mvae_jax", "mvae_jax.programs", "mvae_jax.records", "mvae_jax.sources")


class _Source(NamedTuple):
    spec: ModuleSpec
    file: str
    digest: str
    imports: frozenset[str]


_READ: dict[str, _Source] = {}


def hashes(extra: Iterable[str] = ()) -> dict[str, str]:
    """Return the hash of each file that decides numbers: {"mvae_jax/model.py": 16 hex digits}.

    Each is of the file as it was when this function first met the loaded module, since an edit
    takes effect only when the module is loaded again.

    extra: dotted names of the modules that hold the configuration's family and likelihood, which
      may be the user's
    """
    return {found.file: found.digest for found in _closure(extra).values()}


def modules(extra: Iterable[str] = ()) -> list[str]:
    """Return the dotted names of these modules."""
    return sorted(_closure(extra))


def _closure(extra: Iterable[str]) -> dict[str, _Source]:
    """Return the roots and what they import of their own top-level package, by dotted name."""
    found: dict[str, _Source] = {}
    waiting = [*ROOTS, *extra]
    while waiting:
        name = waiting.pop()
        spec = _spec(name)
        decides = name not in NO_NUMBERS and not any(
            f"{name}.".startswith(f"{recorded}.") for recorded in RECORDED_BY_VALUE
        )
        if name in found or spec is None or not decides:
            continue
        reloaded = name in sys.modules and name in _READ and _READ[name].spec is not spec
        if reloaded or name not in _READ:
            _READ[name] = _read(name, spec)
        found[name] = _READ[name]
        package = name.partition(".")[0]
        waiting += [other for other in found[name].imports if other.partition(".")[0] == package]
    return dict(sorted(found.items()))


def _spec(name: str) -> ModuleSpec | None:
    """Return where a module comes from, unimported; None where the name is none of a module."""
    parent = name.rpartition(".")[0]
    if parent:
        above = _spec(parent)
        if above is None or above.submodule_search_locations is None:  # as of mvae_jax.model.Linear
            return None
    return importlib.util.find_spec(name)


def _read(name: str, spec: ModuleSpec) -> _Source:
    is_package = spec.submodule_search_locations is not None
    file = name.replace(".", "/") + ("/__init__.py" if is_package else ".py")
    source: str | None = getattr(spec.loader, "get_source", lambda _name: None)(name)
    if source is None:
        raise ValueError(f"{name}: has no Python source to hash; use a module that has")
    tree = ast.parse(source)
    digest = hashlib.sha256(repr(_without_docstrings(tree)).encode()).hexdigest()[:16]
    package = name if is_package else name.rpartition(".")[0]
    return _Source(spec, file, digest, frozenset(_imports(tree, package)))


def _imports(tree: ast.Module, package: str) -> Iterator[str]:
    """Yield every name that may be a module, wherever in the file it is imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            relative = "." * node.level + (node.module or "")
            module = importlib.util.resolve_name(relative, package)
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def _without_docstrings(node: Any) -> Any:
    """Return a syntax tree as tuples and lists that are the same in every version of Python.

    Empty fields are left out, because newer versions have more of them.
    """
    if isinstance(node, list):
        return [_without_docstrings(item) for item in node]
    if not isinstance(node, ast.AST):
        return node
    fields = dict(ast.iter_fields(node))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
        fields["body"] = node.body[1:]
    kept = [(k, _without_docstrings(v)) for k, v in fields.items() if v not in (None, [])]
    return type(node).__name__, kept
