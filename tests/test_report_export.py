"""What is exported of a run gives the report that the run itself gives."""

import itertools
import json
import re

import numpy as np
import pytest

from mvae_jax.report import export, writing
from mvae_jax.report.study import Study
from tests.fake_runs import SEEDS, draw, write_paper, write_run


def write_arrays(run, seeds):
    """A model and pictures of every seed, and how long an epoch took."""
    generator = np.random.default_rng(0)
    for seed in seeds:
        for folder in ("model", "pictures"):
            (run / folder).mkdir(exist_ok=True)
        kernel = np.zeros((2, 5), np.float32)
        arrays = {"params/encoder/kernel": kernel, "params/coupling": np.eye(2)}
        np.savez(run / "model" / f"seed_{seed}.npz", **arrays)
        images = generator.uniform(size=(2, 48, 6, 5, 1))
        sweep = generator.uniform(size=(10, 10, 6, 5, 1))
        np.savez(
            run / "pictures" / f"seed_{seed}.npz",
            input=images[0],
            reconstruction_sampled=images[1],
            sweep=sweep,
            sweep_values=np.arange(10.0),
        )
    path = run / "manifest.json"
    manifest = json.loads(path.read_text())
    record = {"epoch": 200, "epoch_seconds": 1.5}
    manifest["replicates"] |= {f"seed_{seed}": {"seed": seed, **record} for seed in seeds}
    path.write_text(json.dumps(manifest))


def test_an_export_reports_as_the_runs_do(tmp_path, monkeypatch):
    monkeypatch.setattr(export.figures, "draw", lambda *_, **__: ([], []))  # which has its own test
    for model, mean in (("vae", 0.5), ("mvae", 0.6)):
        values = {"mse": draw(mean, 0.01, SEEDS[:4]), "elbo": draw(-100 * mean, 1, SEEDS[:4])}
        values["num_parameters"] = dict.fromkeys(SEEDS[:4], 14.0)
        run = write_run(tmp_path / "runs", model, 2, values, failed={SEEDS[4]: "kl was nan"})
        write_arrays(run, SEEDS[:4])
        (run / "environment.json").write_text('{"devices": ["cpu"]}')
    runs, exported, again = (tmp_path / name for name in ("runs", "exported", "again"))
    cells, _ = export.export([runs], exported)
    assert [str(cell) for cell in cells] == ["mvae z=2", "vae z=2"]
    assert sorted(path.name for path in exported.iterdir()) == ["runs.jsonl", "scores.csv"]
    export.export([exported], again)
    pages = []
    for root in (runs, exported, again):
        write_paper(root, tmp_path / "out", tmp_path / "page.md", draw=False)
        pages.append((tmp_path / "page.md").read_text())
        pages.append((tmp_path / "out" / "tables.csv").read_text())
    assert pages[:2] == pages[2:4] == pages[4:]
    assert "num_parameters,14.0" in pages[1]
    assert "epoch_seconds,1.5" in pages[1]


def test_the_figures_go_along(tmp_path):
    """A report on the export shows those that it draws, and those that it cannot draw itself."""
    for z in (2, 4):
        write_arrays(write_run(tmp_path / "runs", "vae", z, {"mse": draw(0.5, 0.01)}), SEEDS)
    exported = tmp_path / "exported"
    export.export([tmp_path / "runs"], exported)
    write_paper(exported, tmp_path / "out")
    page = (tmp_path / "out/index.html").read_text()
    shown = re.findall(r'<img src="data:image/png;base64,iVBORw0KGgo[^"]*" alt="([^"]*)"', page)
    titles = [f"digits, release protocol: {n}" for n in ("metrics", "reconstructions", "sweeps")]
    assert shown == titles


def test_runs_of_different_times_share_the_figures_of_their_scores(tmp_path):
    """A picture whose arrays are gone stays; what is no longer true of the scores does not."""
    for model, z in itertools.product(("vae", "mvae"), (2, 4)):
        run = write_run(tmp_path / model, model, z, {"mse": draw(1 / z, 0.01)})
        if model == "vae":
            write_arrays(run, SEEDS)
    out, names = tmp_path / "out", ("differences", "metrics", "reconstructions", "sweeps")

    def pictures():
        found = [out / "figures" / f"digits-release-{name}.png" for name in names]
        return [path.read_bytes() if path.is_file() else None for path in found]

    export.export([tmp_path / "vae"], out)
    before = pictures()
    assert [picture is None for picture in before] == [True, False, False, False]
    export.export([tmp_path / "mvae"], out)
    both = pictures()
    assert None not in both
    assert both[1] != before[1]
    assert both[2:] == before[2:]
    more = draw(0.5, 0.01, [*SEEDS, 999])  # one seed that the other model lacks
    for z in (2, 4):
        write_run(tmp_path / "more", "mvae", z, {"mse": more})
    export.export([tmp_path / "more"], out)
    assert [picture is None for picture in pictures()] == [True, True, False, False]


def test_a_run_that_is_not_scored_is_left_out(tmp_path):
    run = write_run(tmp_path / "runs", "vae", 2, {"mse": draw(0.5, 0.01)})
    (run / "metrics.json").unlink()
    cells, problems = export.export([tmp_path / "runs"], tmp_path / "out")
    assert not cells
    assert not (tmp_path / "out").exists()
    assert "metrics.json" in problems[0].reason


def test_an_export_leaves_the_runs_and_their_figures_as_they_are(tmp_path):
    run = write_run(tmp_path / "runs", "vae", 2, {"mse": draw(0.5, 0.01)})
    write_arrays(run, SEEDS)
    once, twice = tmp_path / "once", tmp_path / "twice"
    export.export([tmp_path / "runs"], once)
    for out in (once, once / "below", run):
        with pytest.raises(ValueError, match=r"--export: got .* choose another"):
            export.export([once, tmp_path / "runs"], out)
    export.export([once], twice)  # which has no arrays to draw the pictures from
    kept = {path.name: path.read_bytes() for path in (once / "figures").iterdir()}
    assert kept == {path.name: path.read_bytes() for path in (twice / "figures").iterdir()}
    assert "digits-release-sweeps.png" in kept


def test_two_runs_are_not_exported_to_one_place(tmp_path):
    for root in ("a", "b"):
        write_run(tmp_path / root, "vae", 2, {"mse": draw(0.5, 0.01)})
    cells, (problem, *_) = export.export([tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    assert not cells
    assert "are the same cell" in problem.reason
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "lost"),
    [
        ({"num_epochs": 1}, SEEDS[0]),
        ({"seeds": SEEDS[:2]}, SEEDS[2]),
        ({"seeds": [seed + 1 for seed in SEEDS]}, SEEDS[0]),
        ({"seeds": SEEDS[1:], "unscored": {SEEDS[0]: "damaged"}}, SEEDS[0]),
    ],
    ids=["fewer epochs", "fewer seeds", "other seeds", "not scored"],
)
def test_an_export_does_not_take_the_place_of_what_it_lacks(tmp_path, changes, lost):
    config = {"num_epochs": 20} | changes
    seeds = config.pop("seeds", SEEDS)
    write_run(tmp_path / "runs", "vae", 2, {"mse": draw(0.5, 0.01)}, num_epochs=20)
    export.export([tmp_path / "runs"], tmp_path / "out")
    write_run(tmp_path / "other", "vae", 2, {"mse": draw(0.4, 0.01, seeds)}, **config)
    before = {path: path.read_bytes() for path in (tmp_path / "out").glob("*.*")}
    with pytest.raises(ValueError, match=f"out/.* has .* of seed_{lost} after 20 epochs"):
        export.export([tmp_path / "other"], tmp_path / "out")
    assert {path: path.read_bytes() for path in (tmp_path / "out").glob("*.*")} == before
    write_run(tmp_path / "more", "vae", 2, {"mse": draw(0.4, 0.01, [*SEEDS, 9])}, num_epochs=30)
    export.export([tmp_path / "more"], tmp_path / "out")
    for name in ("runs.jsonl", "scores.csv"):
        path = tmp_path / "out" / name
        whole = path.read_bytes()
        path.write_text("damaged")
        with pytest.raises(ValueError, match="cannot be read, so it is kept"):
            export.export([tmp_path / "runs"], tmp_path / "out")
        assert path.read_text() == "damaged"
        path.write_bytes(whole)


def test_stale_scores_stay_stale(tmp_path):
    run = write_run(tmp_path / "runs", "vae", 2, {"mse": draw(0.5, 0.01)})
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["sha256"] = {f"embeddings/seed_{SEEDS[0]}.npz": "1" * 64}
    (run / "manifest.json").write_text(json.dumps(manifest))
    _, problems = export.export([tmp_path / "runs"], tmp_path / "out")
    assert "was trained anew since it was scored" in problems[0].reason
    exported = writing.read(tmp_path / "out", None, Study())[1]
    assert "was trained anew since it was scored" in exported[0].reason
