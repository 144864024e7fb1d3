"""A root of run folders from strangers: each costs one line that names its fault, and no other run.

All of them lie beside one good run, so that every command is run once.
"""

import json
import os
import signal

import numpy as np
import pytest

from mvae_jax import evaluate, inference, report
from mvae_jax.report import cells
from mvae_jax.store import run_folder
from mvae_jax.store.run_folder import RunFolderError
from mvae_jax.sweep import watch
from tests.fake_runs import draw, write_run

LATENT_SIZE = 4


def fifo(path):
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def endless(path):
    path.unlink(missing_ok=True)
    path.symlink_to("/dev/zero")


def folder(path):
    path.unlink(missing_ok=True)
    path.mkdir()


def broken_link(path):
    path.unlink(missing_ok=True)
    path.symlink_to("nowhere")


def huge(path):
    path.touch()
    os.truncate(path, 1 << 30)


def deep(path):
    path.write_text("[" * 10**6 + "]" * 10**6)


def less_deep(path):
    path.write_text('{"x":' * 500 + "1" + "}" * 500)


def text(content):
    return lambda path: path.write_text(content)


def merged(**fields):
    """Merges fields into the JSON object that is there."""
    return lambda path: path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def replicates(edit):
    """Edits the first entry of a metrics.json."""

    def change(path):
        content = json.loads(path.read_text())
        content["replicates"][0] |= edit
        path.write_text(json.dumps(content))

    return change


EMBEDDINGS = "embeddings/seed_777.npz"
LOG = "logs/seed_777.jsonl"
# What the report says; a case of the embeddings is evaluation's to tell.
CASES = [
    ("config.json", fifo, "config.json: not readable (is a FIFO, not a regular file)"),
    ("config.json", endless, "config.json: not readable (is a device, not a regular file)"),
    ("config.json", folder, "config.json: not readable (is a folder, not a regular file)"),
    ("config.json", huge, "has 1,073,741,824 bytes; allowed: at most 134,217,728"),
    ("config.json", deep, "config.json: not readable (objects and lists are nested too deeply"),
    ("config.json", less_deep, "nested too deeply; allowed: 32 levels"),
    ("config.json", merged(seed=10**400), "an integer is 10000000000000000000... (401 digits)"),
    ("config.json", merged(sweep="lr"), "'sweep' is 'lr'; write dict there"),
    ("config.json", merged(sweep={"beta": "1,2"}), "'sweep.beta' is '1,2'; write list there"),
    (
        "config.json",
        merged(sweep={f: [*range(1000)] for f in ("beta", "weight_decay", "learning_rate")}),
        "'num_seeds' and 'sweep' ask for 1,000,000,000 replicates; allowed: at most 10,000",
    ),
    ("config.json", merged(first_seed=0, num_seeds=10**9), "ask for 1,000,000,000 replicates"),
    ("manifest.json", fifo, "manifest.json: not readable (is a FIFO"),
    ("manifest.json", broken_link, "manifest.json: does not exist"),
    (
        "manifest.json",
        merged(replicates={"..": {"seed": 1}}),
        "manifest.json: replicate: got '..'; allowed: seed_<n>",
    ),
    (
        "manifest.json",
        merged(sha256={"../../x": ""}),
        "manifest.json: path: got '../../x'; allowed: one below the folder",
    ),
    (
        "manifest.json",
        merged(replicates={"seed_777": {"seed": 777, "swept": {"beta": "x"}}}),
        "'swept.beta' is 'x'; write float there",
    ),
    ("environment.json", fifo, "environment.json: not readable (is a FIFO"),
    ("environment.json", text('{"devices": [1]}'), "'devices[0]' is 1; write str there"),
    ("metrics.json", endless, "metrics.json: not readable (is a device"),
    ("metrics.json", deep, "metrics.json: not readable (objects and lists are nested too deeply"),
    (
        "metrics.json",
        replicates({"replicate": "seed_777/../../../x"}),
        "replicates[0].replicate: got 'seed_777/../../../x'; allowed: seed_<n>",
    ),
    ("metrics.json", replicates({"seed": 778}), "replicates[0].replicate is seed_777, of seed 778"),
    (LOG, fifo, "seed_777.jsonl: not readable (is a FIFO"),
    (LOG, text('{"epoch": -1}'), "'epoch' is -1; allowed: at least 1"),
    (EMBEDDINGS, fifo, "is a FIFO, not a regular file"),
    (EMBEDDINGS, endless, "is a device, not a regular file"),
    (EMBEDDINGS, folder, "is a folder, not a regular file"),
    (EMBEDDINGS, broken_link, "No such file or directory"),
]


@pytest.fixture
def no_hang():
    """Ends a test that waits for a FIFO or for the end of /dev/zero."""
    signal.alarm(60)
    yield
    signal.alarm(0)


@pytest.mark.usefixtures("no_hang")
def test_every_fault_is_one_line_and_costs_no_other_run(tmp_path, capsys):
    root = tmp_path / "runs"
    for number, (name, damage, _) in enumerate(CASES):
        run = write_run(root, f"model{number}", LATENT_SIZE, {"nmi": draw(0.5, 0.01)})
        (run / name).parent.mkdir(exist_ok=True)
        damage(run / name)
    odd = {"likelihood": "gaussian", "tag": "\ud800"}  # no variance, a lone surrogate
    write_run(root, "good", LATENT_SIZE, {"nmi": draw(0.123, 0)}, **odd)

    assert not evaluate.score([root], jobs=1)
    said = capsys.readouterr().err
    assert not report.render([root], tmp_path / "out", draw=False)
    said += capsys.readouterr().err
    of_logs = []
    for log in root.rglob("logs/*"):
        try:
            list(run_folder.read_epochs(log))
        except RunFolderError as error:
            of_logs.append(str(error))
    assert len(of_logs) == 2
    said += "\n".join(of_logs)
    for number, (_, _, reason) in enumerate(CASES):
        lines = [line for line in said.splitlines() if f"model{number}-z" in line]
        assert any(reason in line for line in lines), (number, reason, lines)
    table = (tmp_path / "out/tables.txt").read_text()
    assert "0.123" in table
    assert cells.likelihood(odd) == "gaussian ?"

    list(watch.look([root]))


def test_a_model_whose_arrays_lie_below_each_other_is_refused(tmp_path):
    path = tmp_path / "seed_1.npz"
    np.savez(path, **{"params/a": np.ones(1), "params/a/b": np.ones(1)})
    with pytest.raises(ValueError, match=r"seed_1\.npz: params/a/b lies below another array"):
        inference.read_params(path)
