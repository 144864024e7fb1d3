"""The scripts that measure: that they run, and what they make of what was measured."""

import importlib
import json
import subprocess
import sys

import bench
import compare_runs
import numpy as np
import pytest

from mvae_jax.store.run_folder import RunFolderError
from mvae_jax.sweep import grid
from tests import in_process
from tests.conftest import ROOT


@pytest.mark.thorough
def test_a_small_benchmark_has_every_contestant(tmp_path):
    sizes = ("--latent=2", "--pixels=784", "--seeds=1")
    sizes += ("--steps=2", "--repeats=2", "--warm_steps=2")
    flags = [*sizes, "--peers=ours,loop,floor,encode", f"--out={tmp_path / 'bench.json'}"]
    done = subprocess.run(
        [sys.executable, "launch/bench.py", *flags], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (size,) = json.loads((tmp_path / "bench.json").read_text())["sizes"]
    found = {(t["model"], t["name"]) for t in size["timed"]}
    names = {"ours (map)", "a jitted step per batch", "encode", "reconstruct"}
    names |= {"floor: products", "floor: AdamW", "floor: the rest"}
    factorised = ("mvae", "a jitted step per batch, slogdet")
    ours = {(model, "ours (map)") for model in ("triangular", "lu")}
    expected = {(model, name) for model in ("vae", "mvae") for name in names}
    assert found == expected | ours | {factorised}
    assert all(len(t["laps"]) == 2 and min(t["laps"]) > 0 for t in size["timed"])
    assert "784 pixels, z=2" in done.stdout


@pytest.mark.parametrize(
    "flag",
    [
        "--steps=0",
        "--seeds=1,x",
        "--peers=tensorflow",
        "--models=pca",
        "--pixels=28",
        "--out=/none/x.json",
    ],
)
def test_a_mistake_is_answered_at_once(flag, monkeypatch, capsys):
    returned, out, err = in_process.call(bench.main, monkeypatch, capsys, flag)
    assert (returned, out) == (2, "")
    assert flag.partition("=")[0] in err


def test_the_table_sets_each_beside_its_own_kind():
    """Ratios are medians of the turns' ratios, and every MVAE finds the VAE of its family."""

    def timed(name, model, *laps, seeds=1):
        return bench.Timed(bench.Contestant(name, model, seeds, 1, lambda: None), list(laps))

    rows = bench.table(
        [
            timed("ours (map)", "vae", 1.0, 10.0, 2.0),
            timed("ours (map)", "mvae", 2.0, 20.0, 2.0),
            timed("ours (map)", "mvae", 1.0, 10.0, 1.0, seeds=4),
            timed("torch eager", "vae", 4.0, 4.0, 4.0),
            timed("torch eager, cheap KL", "mvae", 6.0, 6.0, 6.0),
            timed("floor: products", "mvae", 0.5, 5.0, 0.5),
            timed("floor: AdamW", "mvae", 0.5, 5.0, 0.5),
        ]
    ).splitlines()[2:]
    by_seeds = [row.split() for row in rows if "ours" in row and "mvae" in row]
    assert by_seeds[0][-3:] == ["2.00", "1.00", "0.50"]  # to its VAE, to ours, the parts alone
    assert by_seeds[1][-1] == "0.50"  # to ours with one seed; no VAE of four seeds, no floor
    assert any("1.50" in row and "cheap KL" in row for row in rows)


@pytest.mark.parametrize("name", ["sweep", "slurm", "reproduce", "predict"])
def test_a_command_of_the_package_has_its_name_here(name):
    """What it does when it runs, tests/test_terminal.py tells: it is interrupted as any other."""
    script = importlib.import_module(name)
    package = {"sweep": "mvae_jax.sweep.__main__"}.get(name, f"mvae_jax.sweep.{name}")
    assert script.main is importlib.import_module(package).main


def run_folder(folder, shift=0.0, elbo=-100.0, seeds=(1, 2), device="cpu"):
    for name in ("model", "embeddings"):
        (folder / name).mkdir(parents=True)
    for seed in seeds:
        terms = {"log_likelihood_test": np.full(3, elbo), "kl_test": np.zeros(3)}
        np.savez(folder / "embeddings" / f"seed_{seed}.npz", mu_test=np.ones(4) + shift, **terms)
        np.savez(folder / "model" / f"seed_{seed}.npz", kernel=np.ones(4))
    origin = {"sources": {}, "settings": {}, "device": device, "versions": {}}
    (folder / "environment.json").write_text(json.dumps({"origins": {"a": origin}}))
    return folder


@pytest.mark.parametrize(
    ("other", "returned", "message"),
    [
        ({}, 0, "2 seeds; mean test ELBOs at most 0 nats apart"),
        ({"shift": 0.5}, 0, "5.0e-01"),
        ({"elbo": -100.1}, 1, "0.1 nats apart"),
        ({"elbo": np.nan}, 1, "nan nats apart"),
        ({"seeds": (2, 3)}, 0, "seed_3.npz: only one run has it"),
        ({"seeds": (7,)}, 2, "no seed in common"),
        ({"device": "H100"}, 0, "not trained alike, in device ('cpu' and 'H100')"),
    ],
)
def test_two_runs_compared(tmp_path, monkeypatch, capsys, other, returned, message):
    paths = run_folder(tmp_path / "a"), run_folder(tmp_path / "b", **other)
    found, out, err = in_process.call(compare_runs.main, monkeypatch, capsys, *paths)
    assert found == returned
    assert message in out + err


GOOD = {"workdir": "a/b", "command": ["python"], "cost": 1.0}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "not readable"),
        ("[1]", r"holds \[1\]; write an object"),
        ('{"workdir": "x"}', r"a line has \['workdir'\]; allowed: workdir, command"),
        (json.dumps(GOOD | {"x": 1}), "a line has"),
        (json.dumps(GOOD | {"workdir": "../../x"}), r"got '\.\./\.\./x'; allowed: one below"),
        (json.dumps(GOOD | {"command": "rm"}), "'command' is 'rm'; write list"),
        (json.dumps(GOOD | {"command": ["a\nb"]}), "allowed: a list of printable text"),
        (json.dumps(GOOD | {"cost": None}), "a line has"),
    ],
)
def test_a_sweep_that_is_not_one_of_ours_is_refused(tmp_path, line, said):
    path = tmp_path / "sweep.jsonl"
    path.write_text(json.dumps(GOOD) + "\n")
    assert grid.read(path) == [grid.PlannedRun(**GOOD)]
    path.write_text(json.dumps(GOOD) + "\n" + line + "\n")
    with pytest.raises(RunFolderError, match=rf"sweep\.jsonl.*: .*{said}"):
        grid.read(path)
