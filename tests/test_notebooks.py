"""Every notebook runs from a clean kernel, and is kept with the outputs of its last run."""

import re
from concurrent.futures import ThreadPoolExecutor

import execute
import joblib
import nbformat
import pytest
from nbclient.exceptions import DeadKernelError

pytestmark = pytest.mark.thorough

SMALL = {"NUM_EPOCHS": 2, "NUM_SEEDS": 2, "LATENT_SIZE": 4}
SETTINGS = {
    "quickstart": SMALL,
    "reproduce_tables": {"DATASET": "digits", "SOURCE": "", "LATENT_SIZES": (2, 4), **SMALL},
    "latent_traversals": SMALL,
    "your_own_data": SMALL,
}


def test_what_fails_keeps_its_outputs_and_keeps_no_other_from_running(
    tmp_path, monkeypatch, capsys
):
    def run(path, settings):
        if path.stem == "a":
            raise DeadKernelError("Kernel died")
        return nbformat.v4.new_notebook()

    paths = [tmp_path / f"{name}.ipynb" for name in ("a", "b")]
    for path in paths:
        path.write_text("as it was")
    monkeypatch.setattr(execute, "HERE", tmp_path)
    monkeypatch.setattr(execute, "NOTEBOOKS", tuple(paths))
    monkeypatch.setattr(execute, "execute", run)
    monkeypatch.setattr("sys.argv", ["execute.py"])
    with pytest.raises(SystemExit) as stopped:
        execute.main()
    assert stopped.value.code == 1
    assert f"error: {paths[0]}: Kernel died" in capsys.readouterr().err
    assert paths[0].read_text() == "as it was"
    assert paths[1].read_text() != "as it was"


def test_all_notebooks_are_here():
    assert [path.stem for path in execute.NOTEBOOKS] == sorted(SETTINGS)


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """By name the file as it was and the notebook that runs, as many at a time as cores.

    What several compile, as the digits' programs of one latent size, is compiled once.
    """
    programs = str(tmp_path_factory.mktemp("programs"))
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(joblib.cpu_count()) as pool:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", programs)
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
        yield {
            path.stem: (
                path.read_bytes(),
                pool.submit(execute.execute, path, SETTINGS[path.stem], timeout=300),
            )
            for path in execute.NOTEBOOKS
        }


@pytest.mark.parametrize("path", execute.NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_from_a_clean_kernel(path, executed):
    before, running = executed[path.stem]
    notebook = running.result()
    assert path.read_bytes() == before
    kinds = {output.output_type for cell in notebook.cells for output in cell.get("outputs", [])}
    assert "display_data" in kinds
    assert "error" not in kinds


@pytest.mark.parametrize("path", execute.NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_kept_with_its_outputs_and_address(path):
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    pictures = [o for cell in code for o in cell.outputs if "image/png" in o.get("data", {})]
    assert pictures
    owner = execute.REPOSITORY.removeprefix("https://github.com/")
    badge = f"https://colab.research.google.com/github/{owner}/blob/main/notebooks/{path.name}"
    assert badge in notebook.cells[0].source
    assert f"git+{execute.REPOSITORY}" in notebook.cells[1].source
    text = path.read_text()
    assert not re.search("/(tmp|root|home|Users)/", text)  # nothing of the machine that ran it
    assert "Traceback" not in text
