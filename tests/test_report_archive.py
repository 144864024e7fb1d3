"""The archive of an export: read back exactly, refused where it is not what was written."""

import csv
import hashlib
import json
import os
import shutil

import numpy as np
import pytest

from mvae_jax.paper.study import STUDY
from mvae_jax.report import archive, comparisons, export, pairs, scores
from mvae_jax.report.cells import Cell, Setting
from mvae_jax.report.frame import Scores
from tests.conftest import ROOT
from tests.fake_runs import SEEDS, comparison, draw, write_run

# The cells over which the pinned p-values were corrected.
SIZES = {"fashion_mnist": (4, 16), **dict.fromkeys(("mnist_basic", "mnist_rotated"), range(1000))}


def write_swept(root):
    """A run of two learning rates, a value of the user's own, and names that try something."""
    run = write_run(
        root, "vae", 2, {"mse": draw(1 / 3, 0.1), "=own": draw(1e-300, 1e-301)}, tag="t"
    )
    path = run / "metrics.json"
    metrics = json.loads(path.read_text())
    for entry in metrics["replicates"]:
        rate = 0.1 + 0.2 if entry["seed"] % 2 else 1e-5
        entry["replicate"] += f"__learning_rate={rate}"
    shown = {"title": "mine", "unit": "", "decimals": 3, "better": -1}
    path.write_text(json.dumps(metrics | {"described": {"=own": shown}}))
    return run


def exported(tmp_path):
    write_swept(tmp_path / "runs")
    values = {"mse": draw(0.5, 0.01), "num_parameters": dict.fromkeys(SEEDS, 14.0)}
    failed = {SEEDS[-1] + 1: "kl was nan"}
    write_run(tmp_path / "runs", "mvae", 4, values, failed=failed, absent={"nmi": "no labels"})
    export.export(tmp_path / "runs", tmp_path / "out")
    return tmp_path / "out"


def test_every_cell_and_value_is_read_back_exactly(tmp_path):
    out = exported(tmp_path)
    ours, theirs = scores.read(out), scores.read(tmp_path / "runs")
    assert list(ours.cells) == list(theirs.cells)
    assert [cell.setting.variant for cell in ours.cells] == [
        *("", "t, learning_rate=0.30000000000000004", "t, learning_rate=1e-05")
    ]
    for cell, run in theirs.cells.items():
        path = out / run.path.relative_to(tmp_path / "runs")
        assert ours.cells[cell] == run._replace(path=path)
    assert ours.values.astype(object).equals(theirs.values.astype(object))
    assert ours.problems == []
    frames = scores.scores(out), scores.scores(tmp_path / "runs")
    assert frames[0].values.astype(object).equals(frames[1].values.astype(object))
    assert b"\r" not in (out / "scores.csv").read_bytes()
    assert b"'=own" in (out / "scores.csv").read_bytes()


def test_an_archive_keeps_the_cells_that_are_not_exported_again(tmp_path):
    out = exported(tmp_path)
    before = scores.read(out)
    write_run(tmp_path / "more", "mvae", 4, {"mse": draw(0.7, 0.1, [*SEEDS, 9])}, folder="x/y")
    (cell,), _ = export.export(tmp_path / "more", out)
    after = scores.read([out])
    assert list(after.cells) == list(before.cells)
    for other in before.cells:
        same = before.of(other, "mse") == after.of(other, "mse")
        assert same == (other != cell)
    assert after.of(cell, "mse") == scores.read(tmp_path / "more").of(cell, "mse")
    assert after.cells[cell].path == out / "x/y"


def test_an_archive_is_read_beside_run_folders_and_exported_with_them(tmp_path):
    out = exported(tmp_path)
    shutil.move(out, tmp_path / "both" / "archive")
    write_run(tmp_path / "both", "vae", 4, {"mse": draw(0.5, 0.01)})
    found = scores.read(tmp_path / "both")
    assert len(found.cells) == 4
    export.export(tmp_path / "both", tmp_path / "again")
    again = scores.read(tmp_path / "again")
    assert list(again.cells) == list(found.cells)
    assert again.values.astype(object).equals(found.values.astype(object))
    assert scores.read(
        [tmp_path / "both", tmp_path / "again"]
    ).values.empty  # each cell is there twice


def test_a_metric_of_the_archive_is_not_lost(tmp_path):
    write_run(tmp_path / "runs", "vae", 2, {"mse": draw(0.5, 0.01), "own": draw(1, 1)})
    export.export(tmp_path / "runs", tmp_path / "out")
    write_run(tmp_path / "other", "vae", 2, {"mse": draw(0.5, 0.01)})
    with pytest.raises(ValueError, match=f"out/.* has own of seed_{SEEDS[0]} .*other.* has not"):
        export.export(tmp_path / "other", tmp_path / "out")


def test_two_cells_of_one_path_are_refused(tmp_path):
    for name, z in (("a", 2), ("b", 4)):
        write_run(tmp_path / name, "vae", z, {"mse": draw(0.5, 0.01)}, folder="run")
    export.export(tmp_path / "a", tmp_path / "out")
    with pytest.raises(ValueError, match=r"vae z=2 and .* vae z=4 would both be .*out/run"):
        export.export(tmp_path / "b", tmp_path / "out")


def test_a_folder_of_runs_is_no_place_for_an_archive(tmp_path):
    for name in ("a", "b"):
        write_run(tmp_path / name, "vae", 2, {"mse": draw(0.5, 0.01)})
    with pytest.raises(ValueError, match=r"--export: got .*, which holds the run .*/b/digits"):
        export.export(tmp_path / "a", tmp_path / "b")


def seal(out, header=None, rows=None):
    """Write scores.csv, and runs.jsonl with its digest."""
    lines = (out / "runs.jsonl").read_text().splitlines()
    if rows is not None:
        (out / "scores.csv").write_bytes(rows)
    digest = hashlib.sha256((out / "scores.csv").read_bytes()).hexdigest()
    lines[0] = json.dumps(json.loads(lines[0]) | {"sha256": digest} | (header or {}))
    (out / "runs.jsonl").write_text("\n".join(lines) + "\n")


def edit_rows(old, new):
    return lambda out: seal(out, rows=(out / "scores.csv").read_bytes().replace(old, new, 1))


def edit_cell(**fields):
    def edit(out):
        header, line, *rest = (out / "runs.jsonl").read_text().splitlines()
        edited = json.dumps(json.loads(line) | fields)
        (out / "runs.jsonl").write_text("\n".join([header, edited, *rest]))

    return edit


def second_line(out):
    with (out / "runs.jsonl").open("a") as file:
        file.write((out / "runs.jsonl").read_text().splitlines()[1])


def linked(name):
    def link(out):
        (out / name).unlink()
        (out / name).symlink_to("/dev/zero")

    return link


def waiting(name):
    def fifo(out):
        (out / name).unlink()
        os.mkfifo(out / name)

    return fifo


DAMAGE = {
    "no scores": (lambda out: (out / "scores.csv").unlink(), "scores.csv: not readable"),
    "other scores": (
        lambda out: (out / "scores.csv").write_bytes(b"run\n"),
        "scores.csv: is not the file that runs.jsonl was written with",
    ),
    "endless scores": (linked("scores.csv"), "scores.csv: not readable"),
    "endless runs": (linked("runs.jsonl"), "runs.jsonl: not readable"),
    "waiting runs": (waiting("runs.jsonl"), "runs.jsonl: not readable"),
    "empty": (lambda out: (out / "runs.jsonl").write_bytes(b""), "'format' is missing"),
    "no object": (
        lambda out: (out / "runs.jsonl").write_bytes(b"[]"),
        "line 1: holds []; write",
    ),
    "deep": (lambda out: (out / "runs.jsonl").write_bytes(b"[" * 99999), "line 1: not readable"),
    "version": (lambda out: seal(out, {"version": 2}), "reads mvae_jax archive 1"),
    "metrics": (lambda out: seal(out, {"metrics": [[]]}), "'metrics' is no list of names"),
    "twice": (second_line, "is a second line of"),
    "column": (edit_rows(b"metric", b"meter"), "scores.csv: not readable"),
    "run": (edit_rows(b"digits/", b"figits/"), "'run' is 'figits/release/"),
    "metric": (edit_rows(b",brier", b",bother"), "'metric' is 'bother'"),
    "split": (edit_rows(b",test,", b",train,"), "'split' is 'train'"),
    "value": (edit_rows(b"brier,0.5", b"brier,x0.5"), "could not convert"),
    "infinite": (edit_rows(b"brier,0.5", b"brier,1e9990"), "a value is not finite"),
    "seed": (edit_rows(b",777,", b",776,"), "has seed 776, which runs.jsonl does not list"),
    "huge seed": (edit_rows(b",777,", b",7" + b"7" * 40 + b","), "scores.csv: not readable"),
    "seed of text": (edit_rows(b",777,", b",x,"), "scores.csv: not readable"),
    "two values": (edit_rows(b",778,", b",777,"), "has two values of one metric and seed"),
    "path": (edit_cell(path="../.."), "path: got '../..'"),
    "no path": (edit_cell(path=None), "'path' is None; write str there"),
    "config": (edit_cell(config={"dataset": "digits"}), "'protocol' is missing"),
    "seeds": (edit_cell(epochs={"777": "x"}), "'epochs.777' is 'x'; write int there"),
    "other seed": (edit_cell(failed={"12": "x"}), "'failed' has '12', which is no seed"),
    "no seed": (edit_cell(replicates={"\u0667": "seed_7"}), "'replicates' has '\u0667', which"),
    "name": (edit_cell(replicates={"777": "seed_778"}), "has seed_778 as seed 777"),
    "tested on": (edit_cell(tested_on=[[1]]), "'tested_on' is [1]; write list there"),
    "described": (edit_cell(described={"own": {}}), "described.'own': 'title'"),
    "environment": (edit_cell(environment={"devices": [1]}), "'devices[0]' is 1; write str"),
    "absent": (edit_cell(absent={"nmi": []}), "'absent.nmi' is []; write str there"),
}


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    return exported(tmp_path_factory.mktemp("archive"))


@pytest.mark.parametrize("case", DAMAGE)
def test_what_is_no_archive_is_one_problem(tmp_path, one, case):
    damage, said = DAMAGE[case]
    out = shutil.copytree(one, tmp_path / "out")
    damage(out)
    found = scores.read(out)
    assert not found.cells
    (problem,) = found.problems
    assert problem.where == str(out)
    assert said in problem.reason
    assert problem.reason.endswith(archive.WAY_OUT)
    assert "\n" not in problem.reason


def test_the_committed_results_are_small():
    results = ROOT / "launch" / "results"
    files = [path for path in results.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 3_000_000
    assert len([path for path in files if path.parent.name == "figures"]) <= 20
    assert sorted(path.name for path in results.iterdir()) == [
        "figures",
        "runs.jsonl",
        "scores.csv",
    ]


def test_the_committed_results_give_the_figures_they_gave_as_run_folders():
    """Means, standard deviations and p-values as a report on the run folders printed them."""
    found = scores.read(ROOT / "launch/results")
    assert found.problems == []
    shown = {
        cell: run
        if cell.latent_size in SIZES.get(cell.setting.dataset, ())
        else run._replace(missing="not among the cells of that report")
        for cell, run in found.cells.items()
    }
    marked = pairs.mark(Scores(found.values, shown, []), "vae")
    compared = comparisons.compare_all(marked, "vae", STUDY.family)
    setting = Setting("mnist_basic", "regenerated", "release", "")
    with (ROOT / "tests/mnist_basic_release.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 84
    for row in rows:
        cell = Cell(setting, int(row["latent_size"]), row["model"])
        summary = marked.summary(cell, row["metric"])
        expected, ours = [row["mean"], row["sd"]], [summary.mean, summary.sd]
        if row["p_holm"]:
            expected.append(row["p_holm"])
            ours.append(comparison(compared, row["metric"], cell).p_holm)
        np.testing.assert_allclose(ours, np.array(expected, float), rtol=1e-12, err_msg=str(cell))
