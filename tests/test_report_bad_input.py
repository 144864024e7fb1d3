"""What is missing is marked as missing with its reason, and the exit status says so."""

import json

import pytest

from mvae_jax.report import render
from mvae_jax.report.__main__ import main
from tests.fake_runs import SEEDS, draw, write_run


def pair(root, vae_seeds=SEEDS, mvae_seeds=SEEDS, **kwargs):
    write_run(root, "vae", 4, {"nmi": draw(0.5, 0.01, vae_seeds)}, **kwargs)
    return write_run(root, "mvae", 4, {"nmi": draw(0.6, 0.01, mvae_seeds)}, **kwargs)


def report(root, capsys):
    """Returns whether the report is complete, its table's text and what it complained of."""
    complete = render([root], root / "report", draw=False)
    return complete, (root / "report/tables.txt").read_text(), capsys.readouterr().err


def edit(run, change):
    metrics = json.loads((run / "metrics.json").read_text())
    change(metrics)
    (run / "metrics.json").write_text(json.dumps(metrics))


def row(text, z=4):
    return next(line for line in text.splitlines() if line.startswith(f"{z} ")).split()[1:]


def test_a_complete_pair_is_complete(tmp_path, capsys):
    pair(tmp_path)
    complete, text, complaints = report(tmp_path, capsys)
    assert (complete, complaints) == (True, "")
    assert "missing" not in text


def test_a_run_that_was_not_scored(tmp_path, capsys):
    (pair(tmp_path) / "metrics.json").unlink()
    complete, text, complaints = report(tmp_path, capsys)
    assert not complete
    assert row(text)[3::4] == ["-"] * 7  # `mean ± sd` and `-` in turn
    assert "mvae z=4: missing" in text
    assert "metrics.json: does not exist; run python -m mvae_jax.evaluate" in complaints


@pytest.mark.parametrize("version", [0, 99, None, "1"])
def test_metrics_of_another_version(tmp_path, capsys, version):
    edit(pair(tmp_path), lambda metrics: metrics.update(version=version))
    complete, text, complaints = report(tmp_path, capsys)
    assert not complete
    assert f"version is {version!r}, not 1" in complaints
    assert "mvae z=4: missing" in text


@pytest.mark.parametrize(
    "replicates",
    [[], "none", [{}], [{"replicate": "seed_1", "seed": 1, "values": [{"metric": 1}]}]],
)
def test_malformed_metrics(tmp_path, capsys, replicates):
    edit(pair(tmp_path), lambda metrics: metrics.update(replicates=replicates))
    complete, text, complaints = report(tmp_path, capsys)
    assert not complete
    assert "replicate" in complaints
    assert "mvae z=4: missing" in text


def test_torn_json(tmp_path, capsys):
    run = pair(tmp_path)
    (run / "metrics.json").write_text((run / "metrics.json").read_text()[:100])
    complete, _, complaints = report(tmp_path, capsys)
    assert not complete
    assert f"{run / 'metrics.json'}: not readable" in complaints


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite(tmp_path, capsys, value):
    def change(metrics):
        for entry in metrics["replicates"][2]["values"]:
            entry["value"] = value if entry["metric"] == "ari" else entry["value"]

    edit(pair(tmp_path), change)
    complete, text, complaints = report(tmp_path, capsys)
    assert not complete
    assert f"replicates[2].values[6].value is {value}, not a float" in complaints
    assert row(text)[3::4] == ["-"] * 7  # evaluation writes no such file: none of it is believed
    assert row(text)[-3] == "±"  # VAE's is there


def test_a_metric_missing_from_one_seed(tmp_path, capsys):
    edit(pair(tmp_path), lambda metrics: metrics["replicates"][0]["values"].pop())
    complete, text, complaints = report(tmp_path, capsys)
    assert not complete
    assert "missing or not finite for seed 777" in complaints
    assert "missing or not finite for seed 777" in text


def test_a_metric_of_the_paper_that_nobody_mentions(tmp_path, capsys):
    def change(metrics):
        for entry in metrics["replicates"]:
            entry["values"] = [row for row in entry["values"] if row["metric"] != "ece"]

    edit(pair(tmp_path), change)
    complete, _, complaints = report(tmp_path, capsys)
    assert not complete
    assert "ece is missing" in complaints


def test_a_metric_absent_for_a_reason_is_no_failure(tmp_path, capsys):
    labels = ("probe_accuracy", "probe_nll", "brier", "ece", "nmi", "ari")
    for model in ("vae", "mvae"):
        absent = dict.fromkeys(labels, "the data set has no labels")
        write_run(tmp_path, model, 4, {"mse": draw(0.5, 0.01)}, absent=absent)
    complete, text, complaints = report(tmp_path, capsys)
    assert (complete, complaints) == (True, "")
    assert "the data set has no labels" in text
    assert "NMI" not in text


@pytest.mark.parametrize(
    ("vae", "mvae", "said"),
    [
        (SEEDS, SEEDS[:-1], "mvae lacks seed 781"),
        (SEEDS[1:], SEEDS, "vae lacks seed 777"),
        ((1, 2), (3, 4), "vae lacks seed 3, 4 and mvae lacks seed 1, 2"),
    ],
)
def test_unequal_seed_sets_are_not_compared(tmp_path, capsys, vae, mvae, said):
    pair(tmp_path, vae, mvae)
    complete, text, complaints = report(tmp_path, capsys)
    assert not complete
    assert said in complaints
    assert f"mvae z=4: missing: {said}" in text
    assert row(text) == ["-"] * 14  # neither model's mean is over the other's seeds
    assert not (tmp_path / "report/comparisons.csv").exists()


def test_a_planned_seed_without_scores(tmp_path, capsys):
    pair(tmp_path, SEEDS[:-1], SEEDS[:-1], first_seed=777, num_seeds=5)
    complete, text, complaints = report(tmp_path, capsys)
    assert not complete
    assert "seed 781 of the 5 planned has no scores" in complaints
    assert row(text) == ["-"] * 14


def test_a_failed_seed_is_left_out_of_both_and_named(tmp_path, capsys):
    write_run(tmp_path, "vae", 4, {"nmi": draw(0.5, 0.01)})
    failed = {781: "kl was nan in epoch 3"}
    write_run(tmp_path, "mvae", 4, {"nmi": draw(0.6, 0.01, SEEDS[:-1])}, failed=failed)
    complete, text, complaints = report(tmp_path, capsys)
    assert not complete
    assert "means over 4 of 5 seeds, 781 left out: kl was nan in epoch 3" in complaints
    assert "mvae z=4: means over 4 of 5 seeds, 781 left out" in text
    comparisons = (tmp_path / "report/comparisons.txt").read_text()
    assert "digits        4        4" in comparisons  # z=4 over 4 seeds


def test_a_seed_whose_embeddings_are_damaged(tmp_path, capsys):
    write_run(tmp_path, "vae", 4, {"nmi": draw(0.5, 0.01)})
    unscored = {781: "seed_781.npz: mu_test is NaN or infinite in 3 of 100 rows"}
    write_run(tmp_path, "mvae", 4, {"nmi": draw(0.6, 0.01, SEEDS[:-1])}, unscored=unscored)
    complete, text, complaints = report(tmp_path, capsys)
    assert not complete
    assert "seed 781 has no scores: seed_781.npz: mu_test is NaN" in complaints
    assert row(text)[3::4] == ["-"] * 7


@pytest.mark.parametrize("folder", ["pictures", "model"])
def test_damaged_files_of_a_run(tmp_path, capsys, folder):
    run = pair(tmp_path)
    (run / folder).mkdir()
    (run / folder / "seed_777.npz").write_bytes(b"PK\x03\x04 torn")
    complete, text, complaints = report(tmp_path, capsys)
    assert not complete
    assert f"{run / folder / 'seed_777.npz'}: not readable" in complaints
    assert "mvae z=4: missing" in text


def test_metrics_of_another_run(tmp_path, capsys):
    run = pair(tmp_path)
    edit(run, lambda metrics: metrics.update(latent_size=16))
    complete, _, complaints = report(tmp_path, capsys)
    assert not complete
    assert f"{run / 'metrics.json'}: latent_size is 16, in config.json 4" in complaints


def test_every_seed_failed(tmp_path, capsys):
    write_run(tmp_path, "vae", 4, {"nmi": draw(0.5, 0.01)})
    write_run(tmp_path, "mvae", 4, {}, failed=dict.fromkeys(SEEDS, "nan"))
    complete, text, _ = report(tmp_path, capsys)
    assert not complete
    assert "mvae z=4: missing: every seed failed" in text


def test_a_model_without_a_run(tmp_path, capsys):
    pair(tmp_path)
    write_run(tmp_path, "vae", 16, {"nmi": draw(0.5, 0.01)})
    complete, text, _ = report(tmp_path, capsys)
    assert not complete
    assert "z=16: no run of mvae" in text


def test_two_runs_of_one_cell(tmp_path, capsys):
    run = pair(tmp_path)
    other = write_run(tmp_path, "mvae", 4, {"nmi": draw(0.1, 0.01)}, folder="elsewhere")
    complete, text, complaints = report(tmp_path, capsys)
    assert not complete
    assert f"{run} and {other} are the same cell; give one a config.tag" in complaints
    assert row(text)[3::4] == ["-"] * 7


def test_a_config_without_its_fields(tmp_path, capsys):
    run = pair(tmp_path)
    (run / "config.json").write_text('{"dataset": "digits"}')
    complete, _, complaints = report(tmp_path, capsys)
    assert not complete
    assert f"{run / 'config.json'}: 'protocol' is missing or no str" in complaints


def run_main(monkeypatch, *arguments):
    """Returns the exit status of the command."""
    monkeypatch.setattr("sys.argv", ["report", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        main()
    return caught.value.code


@pytest.mark.parametrize(("what", "status"), [("empty", 1), ("absent", 2), ("good", 0)])
def test_exit_status(tmp_path, monkeypatch, capsys, what, status):
    if what != "absent":
        (tmp_path / what).mkdir()
    if what == "good":
        pair(tmp_path / what)
    assert run_main(monkeypatch, "--no-figures", tmp_path / what) == status
    assert capsys.readouterr().err.count("\n") == (status > 0)


def test_two_paths_need_an_out(tmp_path, monkeypatch, capsys):
    pair(tmp_path / "a")
    assert run_main(monkeypatch, tmp_path / "a", tmp_path) == 2
    assert "--out" in capsys.readouterr().err
    out = tmp_path / "out"
    assert run_main(monkeypatch, "--no-figures", tmp_path / "a", tmp_path, "--out", out) == 0
    assert (out / "tables.txt").is_file()  # a run below both paths is one run
