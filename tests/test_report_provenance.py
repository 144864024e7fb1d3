"""Runs of unlike code, settings and machines: told under the tables, or not compared."""

import json

import pytest

from mvae_jax import report
from tests.fake_runs import draw, write_run

ORIGIN = {
    "sources": {"mvae_jax/model.py": "0" * 16, "mvae_jax/train.py": "0" * 16},
    "settings": {"XLA_FLAGS": ""},
    "device": "cpu",
    "versions": {"jax": "0.10.2"},
}
OTHERS = {
    "sources": ({"mvae_jax/model.py": "1" * 16}, "mvae_jax/model.py"),
    "device": ("H100", "device ('cpu' and 'H100')"),
    "versions": ({"jax": "0.11.0"}, "jax ('0.10.2' and '0.11.0')"),
    "settings": ({"XLA_FLAGS": "--fast"}, "XLA_FLAGS ('' and '--fast')"),
}


def write(root, model, by_seed):
    """Writes a run whose seeds were trained by these origins; by None: an older version."""
    seeds = list(range(777, 777 + len(by_seed)))
    run = write_run(root, model, 4, {"mse": draw(0.1, 0.01, seeds)})
    known = {str(i): origin for i, origin in enumerate(by_seed) if origin}
    replicates = {
        f"seed_{seed}": {"seed": seed, "epoch": 200}
        | ({"origins": [str(i)]} if str(i) in known else {})
        for i, seed in enumerate(seeds)
    }
    (run / "environment.json").write_text(json.dumps({"origins": known}))
    manifest = {"replicates": replicates, "sha256": {}}
    (run / "manifest.json").write_text(json.dumps(manifest))


def other(field):
    value, words = OTHERS[field]
    return ORIGIN | {field: ORIGIN[field] | value if isinstance(value, dict) else value}, words


@pytest.mark.parametrize("field", OTHERS)
def test_a_pair_that_was_not_trained_alike(tmp_path, capsys, field):
    origin, words = other(field)
    write(tmp_path, "vae", [ORIGIN] * 3)
    write(tmp_path, "mvae", [origin] * 3)
    complete = report.render([tmp_path], tmp_path / "report", draw=False)
    shown = (tmp_path / "report" / "tables.txt").read_text()
    assert f"Not trained alike, in {words}: digits, z=4, vae and mvae." in shown
    assert complete == (field != "settings")
    compared = (tmp_path / "report" / "comparisons.csv").exists()
    assert compared == (field != "settings")
    if field == "settings":
        assert f"not compared, trained differently: {words}" in capsys.readouterr().err


def test_seeds_of_one_run_that_were_not_trained_alike(tmp_path):
    write(tmp_path, "vae", [ORIGIN, ORIGIN, other("sources")[0]])
    report.render([tmp_path], tmp_path / "report", draw=False)
    shown = (tmp_path / "report" / "tables.txt").read_text()
    assert "Not trained alike, in mvae_jax/model.py: digits, z=4, the seeds of vae." in shown


def test_nothing_is_told_of_runs_alike_or_of_an_older_version(tmp_path):
    write(tmp_path, "vae", [ORIGIN] * 3)
    write(tmp_path, "mvae", [None, other("sources")[0] | {"sources": {}}, None])
    report.render([tmp_path], tmp_path / "report", draw=False)
    assert "Not trained alike" not in (tmp_path / "report" / "tables.txt").read_text()
