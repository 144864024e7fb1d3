"""Runs every notebook from a clean kernel and keeps its outputs.

    pip install -e ".[notebooks]" && python notebooks/execute.py [NAME...]

REPOSITORY is the one place that knows the project's address: it is written into the badges and the
cells that install the package.
"""

from mvae_jax import terminal

if __name__ == "__main__":
    terminal.prepare()  # before the imports below, which take seconds

import argparse
import os
import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from mvae_jax.store import files

REPOSITORY = "https://github.com/OWNER/mvae_jax"
HERE = Path(__file__).parent
NOTEBOOKS = tuple(sorted(HERE.glob("*.ipynb")))
ADDRESS = re.compile(r"(github(?:\.com)?)/[\w-]+/mvae_jax")


def main() -> None:
    """Execute the notebooks that are named, by default all; what fails keeps its old outputs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    known = [path.stem for path in NOTEBOOKS]
    parser.add_argument("names", nargs="*", default=known, help=f"of {', '.join(known)}")
    args = parser.parse_args()
    if unknown := [name for name in args.names if name not in known]:
        parser.error(f"NAME: got {unknown[0]!r}; allowed: {', '.join(known)}")
    failed = False
    for name in args.names:
        path = HERE / f"{name}.ipynb"
        try:
            notebook = execute(path, {})
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            print(f"error: {path}: {error}", file=sys.stderr)
            failed = True
            continue
        files.write_text(path, nbformat.writes(notebook) + "\n")
        print(path)
    sys.exit(int(failed))


def execute(path: Path, settings: Mapping[str, Any], timeout: int = 3600) -> Any:
    """Return the notebook with the outputs that it has under these settings.

    settings: values of the cell `parameters`, by name; the cell itself stays as it is written
    timeout:  seconds that a cell may take
    """
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        cell.source = ADDRESS.sub(rf"\1/{REPOSITORY.split('/', 3)[3]}", cell.source)
    position = next(i for i, c in enumerate(notebook.cells) if "parameters" in tags(c)) + 1
    source = "\n".join(f"{name} = {value!r}" for name, value in settings.items())
    notebook.cells.insert(position, nbformat.v4.new_code_cell(source))
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(notebook, timeout=timeout, resources={"metadata": {"path": folder}})
        client.execute()
    del notebook.cells[position]
    for number, cell in enumerate(c for c in notebook.cells if c.cell_type == "code"):
        cell.execution_count = number + 1
        cell.metadata.pop("execution", None)  # times, which change from run to run
        cell.outputs = joined(cell.outputs)
        for output in cell.outputs:
            if "execution_count" in output:
                output["execution_count"] = number + 1
    notebook.metadata.pop("widgets", None)
    return notebook


def joined(outputs: list[Any]) -> list[Any]:
    """Return the outputs with consecutive pieces of one stream as one."""
    found: list[Any] = []
    for output in outputs:
        before: Any = found[-1] if found else {}
        if output.output_type == "stream" and before.get("name") == output.name:
            before.text += output.text
        else:
            found.append(output)
    return found


def tags(cell: Any) -> list[str]:
    """Return a cell's tags."""
    found: list[str] = cell.metadata.get("tags", [])
    return found


if __name__ == "__main__":
    terminal.command(main)
