"""The rooms import in the direction in which the data flows, and in no other."""

import ast
import re
import subprocess
import sys
from collections import Counter

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "mvae_jax"
MOST_LINES, MOST_LINES_OF_A_FUNCTION = 300, 70

# Room -> the rooms it may import. `store`, `files`, `escape` and `config` stand below all others.
ALLOWED = {
    "escape": set(),
    "gaussian": set(),
    "gauge": {"config", "model", "posteriors", "rules"},
    "inverse": set(),
    "unit_triangular": set(),
    "paths": set(),
    "sources": set(),
    "numerics": set(),
    "rules": {"escape"},
    "terminal": {"escape"},
    "workers": {"terminal"},
    "programs": {"sources"},
    "config": {"escape", "paths", "rules"},
    "resume": {"config", "rules"},
    "store": {"config", "escape", "rules", "terminal"},
    "command_line": {"config", "escape", "paths", "rules", "terminal"},
    "datasets": {"paths", "store", "terminal"},
    "records": {"escape", "rules"},
    "posteriors": {"gaussian", "inverse", "records", "rules", "unit_triangular"},
    "likelihoods": {"records"},
    "model": {"config", "escape", "likelihoods", "posteriors", "records", "rules"},
    "networks": set(),
    "optimizers": {"escape", "posteriors", "records", "rules"},
    "elbo": {"likelihoods", "model", "posteriors"},
    "train": {"config", "elbo", "model", "optimizers", "posteriors"},
    "replicas": {"config", "posteriors", "programs", "records", "train"},
    "inference": {"config", "likelihoods", "model", "numerics", "posteriors", "rules", "store"},
    "embed": {
        *("datasets", "elbo", "inference", "model", "posteriors", "programs", "records", "store"),
        "train",
    },
    "runs": {
        *("config", "datasets", "embed", "likelihoods", "model", "numerics", "optimizers"),
        *("paths", "posteriors", "records", "resume", "replicas", "sources", "store", "terminal"),
    },
    "evaluate": {"escape", "paths", "records", "rules", "store", "terminal", "workers"},
    "report": {
        *("config", "escape", "evaluate", "paths", "records", "rules", "store", "terminal"),
        "workers",
    },
    "paper": {"escape", "paths", "report", "store", "terminal"},
    "sweep": {
        *(
            "command_line",
            "config",
            "datasets",
            "escape",
            "paper",
            "paths",
            "posteriors",
            "records",
        ),
        *("replicas", "report", "runs", "sources", "store", "terminal", "train"),
    },
    "publish": {
        *("config", "datasets", "escape", "inference", "model", "paths", "posteriors", "report"),
        *("store", "terminal"),
    },
    "stages": {"config", "datasets", "evaluate", "report", "runs", "terminal"},
    "trained": {"config", "inference", "posteriors", "report", "store"},
    "fitting": {
        *("command_line", "config", "datasets", "evaluate", "paths", "rules", "runs", "stages"),
        *("store", "trained"),
    },
    "main": {
        *("command_line", "config", "datasets", "evaluate", "runs", "stages", "store", "terminal"),
    },
    "estimator": {
        *("config", "embed", "inference", "numerics", "posteriors", "programs", "records"),
        *("replicas", "runs", "train"),
    },
    "foreign": {"evaluate", "store", "trained"},
    "__init__": {
        *("estimator", "evaluate", "fitting", "foreign", "inference", "report", "terminal"),
        "trained",
    },
    "__main__": {"main", "terminal"},
}
ONLY_HERE = {"flax": {"model", "networks"}, "orbax": {"runs"}, "optax": {"optimizers", "train"}}
WITHOUT_JAX = (
    *("__init__", "command_line", "config", "datasets", "escape", "evaluate", "foreign", "main"),
    *("paper", "paths", "records", "report", "resume", "rules", "sources", "store", "terminal"),
    "workers",
)
WITHOUT_JAX_FILES = (
    "runs/trackers.py",
    "runs/workdir.py",
    "runs/progress.py",
    "runs/stop.py",
)


def imports(path):
    """Yields every module that a file imports, as a dotted name, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "import_module":
            match node.args[0]:
                case ast.Constant(value=name):  # else it is a name that a user gave
                    yield name


def rooms():
    """Yields (room, path) of every file of the package."""
    for path in sorted(PACKAGE.rglob("*.py")):
        relative = path.relative_to(PACKAGE)
        if relative.parts[0] != "configs":
            yield relative.parts[0].removesuffix(".py"), path


def room_imports(room, path):
    """Returns the other rooms that a file imports."""
    found = set()
    for name in imports(path):
        first, *rest = name.split(".")
        if first == "mvae_jax" and rest and rest[0] != "__version__":
            found.add(rest[0])
    return found - {room}


def test_every_room_imports_only_what_the_design_allows():
    for room, path in rooms():
        assert room in ALLOWED, f"{path}: a room that the test does not know"
        extra = room_imports(room, path) - ALLOWED[room]
        assert not extra, f"{path}: {room} may not import {extra}"


def test_the_allowed_imports_have_no_cycle():
    def visit(room, above):
        assert room not in above, f"cycle: {[*above, room]}"
        for below in ALLOWED[room]:
            visit(below, [*above, room])

    for room in ALLOWED:
        visit(room, [])


def test_libraries_stay_in_their_rooms():
    for room, path in rooms():
        libraries = {name.split(".")[0] for name in imports(path)}
        for library, allowed in ONLY_HERE.items():
            assert library not in libraries or room in allowed, f"{path}: imports {library}"
        without = room in WITHOUT_JAX or path.as_posix().endswith(WITHOUT_JAX_FILES)
        if without:
            assert not libraries & {"jax", "flax", "optax", "orbax"}, f"{path}: imports jax"


def test_no_family_and_no_likelihood_is_named_outside_its_room():
    """What trains and embeds works for every family, so it asks of none whether it is that."""
    named = re.compile(r"\b(mvae|vae|coupl\w*|bernoulli|gaussian\w*)\b")
    for name in ("model", "elbo", "train", "replicas", "inference"):
        tree = ast.parse((PACKAGE / f"{name}.py").read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            if documented and ast.get_docstring(node):
                node.body = node.body[1:] or [ast.Pass()]
        found = {match[0] for match in named.finditer(ast.unparse(tree))}
        assert not found, f"{name}.py: {found}"


def without_encoding(path):
    """Yields the line of every call that opens text in whatever encoding the user's locale has."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or "encoding" in {k.arg for k in node.keywords}:
            continue
        of = getattr(getattr(node.func, "value", None), "id", "")
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        is_binary = any(isinstance(a, ast.Constant) and "b" in str(a.value) for a in node.args)
        opens = name == "open" and not is_binary and of not in OPEN_OTHERWISE
        if opens or name == "read_text" or (name == "write_text" and of != "files"):
            yield node.lineno


# What has an `open` of its own, of bytes.
OPEN_OTHERWISE = ("os", "Image", "tarfile", "tensorstore", "archive", "unzipped")


def test_text_files_are_utf_8_whatever_the_locale():
    places = [PACKAGE, *(ROOT / name for name in ("launch", "notebooks", "configs"))]
    found = {
        f"{path}:{line}"
        for place in places
        for path in place.rglob("*.py")
        for line in without_encoding(path)
    }
    assert not found


def test_the_report_computes_no_metric():
    """It imports the metrics' records, and with them no library that computes."""
    for path in (PACKAGE / "report").rglob("*.py"):
        of_evaluation = {name for name in imports(path) if name.startswith("mvae_jax.evaluate")}
        allowed = ("mvae_jax.evaluate.metrics.", "mvae_jax.evaluate.record.")
        assert all(n.startswith(allowed) for n in of_evaluation)
    code = "import sys, mvae_jax.evaluate.metrics; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
    assert not {"joblib", "scipy", "sklearn"} & {*done.stdout.decode().split()}


def test_the_test_notices_a_wrong_arrow(tmp_path):
    wrong = tmp_path / "score.py"
    wrong.write_text("def f():\n    from mvae_jax import model\n    import jax.numpy as jnp\n")
    assert room_imports("evaluate", wrong) == {"model"}
    assert "jax.numpy" in set(imports(wrong))


@pytest.mark.parametrize("module", ["mvae_jax", "mvae_jax.evaluate", "mvae_jax.report"])
def test_imports_without_jax(module):
    code = (
        "import sys\n"
        "for name in ('jax', 'jaxlib', 'flax', 'optax', 'orbax'): sys.modules[name] = None\n"
        f"import {module}\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_tensorflow_and_torch_are_no_dependencies():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = " ".join(project["dependencies"]).lower()
    assert "torch" not in names
    assert "tensorflow" not in names.replace("tensorflow-datasets", "")


def longest_functions():
    """Yields (lines, file, name) of every function of the package."""
    for _, path in rooms():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node.end_lineno - node.lineno + 1, path.relative_to(ROOT), node.name


def test_modules_and_functions_can_be_read_in_one_go():
    """Prints the lines of each room (`pytest -s`)."""
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for _, path in rooms()}
    of_rooms = Counter()
    for room, path in rooms():
        of_rooms[room] += lines[path]
    print(f"\n{sum(lines.values()):,} lines:", *(f"{r} {n:,}" for r, n in of_rooms.most_common()))
    assert {path: n for path, n in lines.items() if n > MOST_LINES} == {}
    assert [found for found in longest_functions() if found[0] > MOST_LINES_OF_A_FUNCTION] == []
