"""What is missing is marked as missing with its reason, and the exit status says so."""

import csv
import json
import shutil

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
    assert f"replicates[2]: 'values[6].value' is {value}; write float" in complaints
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


def test_scores_of_fewer_epochs_than_are_planned(tmp_path, capsys):
    """A run that was asked for more epochs and stopped before them keeps its older scores."""
    run = pair(tmp_path)
    trained = {f"seed_{seed}": {"seed": seed, "epoch": 20} for seed in SEEDS}
    (run / "manifest.json").write_text(json.dumps({"replicates": trained, "sha256": {}}))
    complete, _, complaints = report(tmp_path, capsys)
    assert not complete
    assert "seed 777 is trained for 20 of 200 epochs; train on" in complaints


def test_what_the_sweep_lists_and_has_not_begun(tmp_path, capsys):
    pair(tmp_path)
    lines = [json.dumps({"workdir": f"digits/release/{name}"}) for name in ("vae-z4", "vae-z8")]
    (tmp_path / "sweep.jsonl").write_text("\n".join(lines))
    complete, _, complaints = report(tmp_path, capsys)
    assert not complete
    said = "1 of the 2 runs that it lists have not begun, digits/release/vae-z8 the first of them"
    assert said in complaints
    log = tmp_path / "logs" / "digits/release/vae-z8.txt"
    log.parent.mkdir(parents=True)
    log.with_name(f"{log.name}.failed").write_text("exit status 2\n")
    _, _, complaints = report(tmp_path, capsys)
    assert f"1 of the 2 runs that it lists failed at their start; {log} says why" in complaints
    assert "have not begun" not in complaints


def test_a_failed_seed_is_left_out_of_both_and_named(tmp_path, capsys):
    write_run(tmp_path, "vae", 4, {"nmi": draw(0.5, 0.01)})
    failed = {781: "kl was nan in epoch 3"}
    write_run(tmp_path, "mvae", 4, {"nmi": draw(0.6, 0.01, SEEDS[:-1])}, failed=failed)
    complete, text, complaints = report(tmp_path, capsys)
    assert not complete
    assert "means over 4 of 5 seeds, 781 left out: kl was nan in epoch 3" in complaints
    assert "mvae z=4: means over 4 of 5 seeds, 781 left out" in text
    comparisons = (tmp_path / "report/every_comparison.txt").read_text()
    assert "digits        4        4" in comparisons  # z=4 over 4 seeds
    assert "vae z=4: means over 4 of 5 seeds, 781 left out: mvae's: kl was nan" in text
    records = list(csv.DictReader((tmp_path / "report/tables.csv").open()))
    assert {(r["seeds"], r["failed_seeds"]) for r in records} == {("4", "781")}


def test_a_seed_whose_embeddings_are_damaged(tmp_path, capsys):
    write_run(tmp_path, "vae", 4, {"nmi": draw(0.5, 0.01)})
    unscored = {781: "seed_781.npz: mu_test is NaN or infinite in 3 of 100 rows"}
    write_run(tmp_path, "mvae", 4, {"nmi": draw(0.6, 0.01, SEEDS[:-1])}, unscored=unscored)
    complete, text, complaints = report(tmp_path, capsys)
    assert not complete
    assert "seed_781 has no scores: seed_781.npz: mu_test is NaN" in complaints
    assert row(text)[3::4] == ["-"] * 7


@pytest.mark.parametrize("folder", ["pictures", "model"])
def test_damaged_files_of_a_run(tmp_path, capsys, folder):
    run = pair(tmp_path)
    (run / folder).mkdir()
    (run / folder / "seed_777.npz").write_bytes(b"PK\x03\x04 torn")
    assert not render([tmp_path], tmp_path / "report")  # figures and pages are made of them
    assert f"{run / folder / 'seed_777.npz'}: not a readable .npz" in capsys.readouterr().err


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
    assert f"{run / 'config.json'}: 'protocol' is missing; write str there" in complaints


def test_a_metric_absent_from_one_seed_only(tmp_path, capsys):
    def change(metrics):
        entry = metrics["replicates"][1]
        entry["values"] = [row for row in entry["values"] if row["metric"] != "nmi"]
        entry["absent"] = [{"metric": "nmi", "reason": "of one class"}]

    edit(pair(tmp_path), change)
    complete, text, complaints = report(tmp_path, capsys)
    assert not complete
    assert "nmi is missing or not finite for seed 778" in complaints
    assert row(text).count("-") == 1


def test_one_run_shows_no_mean_over_some_of_its_seeds(tmp_path, capsys):
    run = write_run(tmp_path, "mvae", 4, {"nmi": draw(0.5, 0.01)})
    edit(run, lambda metrics: metrics["replicates"][0]["values"].pop(-1))
    complete, text, complaints = report(tmp_path, capsys)
    assert not complete
    assert "ari is missing" in complaints
    (shown,) = (line for line in text.splitlines() if line.startswith("ARI"))
    assert shown.split()[-4:] == ["-", "-", "-", "4"]


@pytest.mark.parametrize("failed", [True, False])
def test_a_run_without_embeddings_is_seen(tmp_path, capsys, failed):
    pair(tmp_path)
    run = write_run(tmp_path, "vae", 16, {}, failed={777: "nan"} if failed else {})
    shutil.rmtree(run / "embeddings")
    (run / "metrics.json").unlink()
    complete, text, complaints = report(tmp_path, capsys)
    assert not complete
    assert "vae z=16" in complaints
    assert "vae z=16: missing" in text


@pytest.mark.parametrize("room", ["embeddings", "model"])
def test_scores_of_files_that_training_has_since_replaced(tmp_path, capsys, room):
    run = pair(tmp_path)
    if room == "model":
        edit(run, lambda m: [e.update(sha256_model="0" * 64) for e in m["replicates"]])
    digests = {f"{room}/seed_777.npz": "1" * 64, f"{room}/seed_778.npz": "0" * 64}
    (run / "manifest.json").write_text(json.dumps({"replicates": {}, "sha256": digests}))
    complete, _, complaints = report(tmp_path, capsys)
    assert not complete
    assert complaints.count("was trained anew since it was scored") == 1
    assert "seed 777 was trained anew" in complaints


@pytest.mark.parametrize(
    ("field", "values"),
    [("num_epochs", (200, 20)), ("likelihood", ("bernoulli", "gaussian")), ("batch_size", (1, 2))],
)
def test_pairs_trained_differently_are_not_compared(tmp_path, capsys, field, values):
    for model, value in zip(("vae", "mvae"), values, strict=True):
        nmi = draw(0.9 if model == "mvae" else 0.1, 0.01)
        write_run(tmp_path, model, 4, {"nmi": nmi}, **{field: value})
    complete, text, complaints = report(tmp_path, capsys)
    assert not complete
    assert f"z=4: not compared, trained differently: {field} is {values[0]!r}" in complaints
    assert "*" not in row(text)[-1]
    assert not (tmp_path / "report/comparisons.csv").exists()


def test_bounds_of_unlike_k_are_not_compared(tmp_path, capsys):
    for model, k in (("vae", 50), ("mvae", 5000)):
        values = {"iwae": draw(-100.0 + k, 0.1), "iwae_k": dict.fromkeys(SEEDS, k)}
        write_run(tmp_path, model, 4, values)
    report(tmp_path, capsys)
    compared = (tmp_path / "report/comparisons.csv").read_text()
    assert "nmi" in compared
    assert "iwae" not in compared


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("tag", 5), ("source", ["x"]), ("num_epochs", "many"), ("num_seeds", 0)),
        *(("latent_size", 0), ("couple_mean", "yes")),
    ],
)
def test_config_fields_of_the_wrong_type(tmp_path, capsys, field, value):
    run = pair(tmp_path)
    config = json.loads((run / "config.json").read_text()) | {field: value}
    (run / "config.json").write_text(json.dumps(config))
    complete, _, complaints = report(tmp_path, capsys)
    assert not complete
    assert f"{run / 'config.json'}: '{field}' is {value!r}; write" in complaints


@pytest.mark.parametrize(
    "manifest", [[], {"replicates": []}, {"replicates": {"seed_777": 3}, "sha256": {}}]
)
def test_a_damaged_manifest(tmp_path, capsys, manifest):
    run = pair(tmp_path)
    (run / "manifest.json").write_text(json.dumps(manifest))
    complete, _, complaints = report(tmp_path, capsys)
    assert not complete
    assert f"{run / 'manifest.json'}: " in complaints


def test_a_replicate_whose_name_has_no_seed(tmp_path, capsys):
    entry = {"replicate": "last", "failed": "last.npz: the name is not seed_<n>.npz; rename it"}
    edit(pair(tmp_path), lambda metrics: metrics["replicates"].append(entry))
    complete, _, complaints = report(tmp_path, capsys)
    assert not complete
    assert "last has no scores: last.npz: the name is not seed_<n>.npz" in complaints


def test_an_empty_path_beside_a_good_one(tmp_path, capsys):
    pair(tmp_path / "good")
    (tmp_path / "empty").mkdir()
    assert not render([tmp_path / "good", tmp_path / "empty"], tmp_path / "out", draw=False)
    assert f"error: {tmp_path / 'empty'}: no folder with" in capsys.readouterr().err


def test_names_that_matplotlib_would_read_as_mathematics(tmp_path, capsys):
    for model in ("$x_$", "_y"):
        write_run(tmp_path, model, 4, {"nmi": draw(0.5, 0.01)}, folder=f"run{model}")
    assert render([tmp_path], tmp_path / "report")


def test_an_own_file_is_not_the_data_set_of_its_name(tmp_path, capsys):
    pair(tmp_path, dataset="/home/me/mnist_basic.npz", folder="")
    complete, text, _ = report(tmp_path, capsys)
    assert complete
    assert "mnist_basic.npz" in text
    assert "Table IV" not in text
    assert not (tmp_path / "report/reproduction.csv").exists()


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
    assert (tmp_path / what / "report").exists() == (what == "good")


def test_an_out_that_cannot_be_written(tmp_path, monkeypatch, capsys):
    pair(tmp_path / "good")
    (tmp_path / "file").touch()
    out = tmp_path / "file/report"
    assert run_main(monkeypatch, "--no-figures", tmp_path / "good", "--out", out) == 1
    assert capsys.readouterr().err.startswith("error: --out: ")


def test_two_paths_need_an_out(tmp_path, monkeypatch, capsys):
    pair(tmp_path / "a")
    assert run_main(monkeypatch, tmp_path / "a", tmp_path) == 2
    assert "--out" in capsys.readouterr().err
    out = tmp_path / "out"
    assert run_main(monkeypatch, "--no-figures", tmp_path / "a", tmp_path, "--out", out) == 0
    assert (out / "tables.txt").is_file()  # a run below both paths is one run


def test_a_field_that_is_new_in_the_code_forbids_a_comparison(tmp_path, capsys):
    """Of no list: every field counts but the few that may differ."""
    for model, value in (("vae", 1), ("mvae", 2)):
        nmi = {"nmi": draw(0.9 if model == "mvae" else 0.1, 0.01)}
        write_run(tmp_path, model, 4, nmi, a_new_field=value, data_sha256="0" * 64)
    complete, _, complaints = report(tmp_path, capsys)
    assert not complete
    assert "z=4: not compared, trained differently: a_new_field is 1 and 2" in complaints


def test_an_unlike_field_that_one_run_of_ours_lacks_forbids_a_comparison(tmp_path, capsys):
    for model, fields in (("vae", {}), ("mvae", {"a_new_field": 2})):
        nmi = {"nmi": draw(0.5, 0.01)}
        write_run(tmp_path, model, 4, nmi, **fields, data_sha256="0" * 64)
    assert not report(tmp_path, capsys)[0]
