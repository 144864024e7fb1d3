"""The whole paper by one command: its plan, what it leaves out for a budget, what it starts."""

import json
import os
import signal
import subprocess
import sys
import time

import joblib
import pytest

from mvae_jax.paper.cells import LATENT_SIZES
from mvae_jax.runs import environment
from mvae_jax.sweep import predict, reproduce
from tests.conftest import ROOT

SEEDS = joblib.cpu_count()  # that are timed at once
# Of one of them: 1 s to compile, and a step of z / 60 ms.
COSTS = {
    (pixels, z, model): predict.Cost(1.0, 0.0, SEEDS * z / 60_000, SEEDS)
    for pixels in (784, 3072)
    for z in LATENT_SIZES
    for model in ("vae", "mvae")
}


@pytest.fixture
def root(tmp_path):
    """A root whose costs were measured by an earlier call."""
    tmp_path /= "config.root"
    tmp_path.mkdir()
    rows = [
        {"pixels": pixels, "latent_size": z, "model": model, "num_seeds": SEEDS}
        | {"cost": {"compile": cost.compile, "epoch": cost.epoch, "step": cost.step}}
        | {"machine": f"{environment.processor()}, 0 GPUs"}
        for (pixels, z, model), cost in COSTS.items()
    ]
    (tmp_path / "costs.json").write_text(json.dumps(rows))
    return tmp_path


@pytest.fixture
def call(root, monkeypatch, capsys):
    """Return a function: *flags -> exit status, output, and the arguments of what was started."""

    def call(*flags, returns=(0, 0, 0)):
        started = []

        def run(*arguments):
            started.append(arguments)
            return returns[len(started) - 1] if len(started) <= len(returns) else 0

        monkeypatch.setattr(reproduce, "call", run)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        monkeypatch.setattr(sys, "argv", ["reproduce", f"--root={root}", *flags])
        returned = 0
        try:
            reproduce.main()
        except SystemExit as stop:
            returned = stop.code
        captured = capsys.readouterr()
        return returned, captured.out + captured.err, started

    return call


def test_minutes_are_those_of_both_models():
    steps = 496  # of 49,599 images
    seconds = 2 * (1 + 200 * steps * 5 * 32 / 60_000)
    found = predict.minutes(COSTS, "mnist_basic", 32, num_seeds=5, num_epochs=200)
    assert found == pytest.approx(seconds / 60)


def test_the_plan_is_printed_before_the_sweep_and_the_report(call, root):
    flags = (f"--data_dir={root}", "--jobs=2", "--config.beta=2")
    returned, out, started = call("--tables=I,IV", "--num_seeds=5", *flags)
    assert returned == 0
    data, sweep, report = started
    assert set(data[2:]) == {"--prepare=cifar10", "--prepare=mnist_basic", f"--data_dir={root}"}
    assert sweep[:2] == ("-m", "mvae_jax.sweep")
    assert "--dataset=cifar10,mnist_basic" in sweep
    assert "--latent=2,4,16,32,256,512" in sweep
    for flag in ("--num_seeds=5", "--config.num_epochs=200", *flags):
        assert flag in sweep
    page = f"--document={root / 'REPRODUCTION.md'}"
    assert report == ("-m", "mvae_jax.paper", str(root), page)
    done = subprocess.run([sys.executable, *report], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")  # 2 would be of a flag that it does not know
    assert "no folder with embeddings/" in done.stderr
    total = sum(
        predict.minutes(COSTS, dataset, z, 5, 200)
        for dataset in ("cifar10", "mnist_basic")
        for z in LATENT_SIZES
    )
    assert f"about {total:.0f} minutes on this machine, {total:.0f} of them to go" in out
    assert "left out" not in out


def test_a_source_is_that_of_the_data_sets_that_have_it(call):
    returned, _, started = call("--tables=I,IV", "--config.source=icml2007")
    assert returned == 0
    *data, cifar10, mnist_basic, _ = started
    assert data == [
        ("-m", "mvae_jax.datasets", "--prepare=cifar10"),
        ("-m", "mvae_jax.datasets", "--prepare=mnist_basic", "--source=icml2007"),
    ]
    assert "--dataset=cifar10" in cifar10
    assert "--config.source=icml2007" not in cifar10
    assert {"--dataset=mnist_basic", "--config.source=icml2007"} < set(mnist_basic)


def test_a_budget_takes_fewer_seeds_then_fewer_latent_sizes(call):
    def whole(seeds, sizes=LATENT_SIZES):
        return sum(predict.minutes(COSTS, "mnist_basic", z, seeds, 200) for z in sizes)

    flags = ("--tables=IV", "--num_seeds=10")
    _, out, (_, sweep, _) = call(*flags, f"--budget_minutes={whole(7) + 0.01}")
    assert "--num_seeds=7" in sweep
    assert "left out, for the budget: 3 of 10 seeds" in out
    _, out, (_, sweep, _) = call(*flags, f"--budget_minutes={whole(3) - 0.01}")
    assert "--latent=2,4,16,32,256" in sweep
    assert "left out, for the budget: z=512" in out
    returned, out, started = call(*flags, "--budget_minutes=0.01")
    assert (returned, started) == (2, [])
    assert "--budget_minutes: got 0.01; the least, z=2 with 3 seeds, takes" in out


def test_fewer_epochs_are_said(call):
    _, out, (_, sweep, _) = call("--tables=IV", "--num_epochs=20")
    assert "--config.num_epochs=20" in sweep
    assert "the paper trains for 200 epochs: every table will say so" in out


def test_what_is_done_is_not_to_go(call, root):
    """One of two models, of the one latent size that fits."""
    run = root / "mnist_basic-regenerated/release/vae-z2"
    run.mkdir(parents=True)
    replicates = {f"seed_{seed}": {"seed": seed, "epoch": 200} for seed in (777, 778, 779)}
    config = {"dataset": "mnist_basic", "protocol": "release", "model": "vae", "latent_size": 2}
    seeds = {"num_seeds": 3, "first_seed": 777, "num_epochs": 200}
    (run / "config.json").write_text(json.dumps(config | seeds))
    manifest = {"version": 1, "replicates": replicates, "sha256": {}}
    (run / "manifest.json").write_text(json.dumps(manifest))
    whole = predict.minutes(COSTS, "mnist_basic", 2, 3, 200)
    _, out, _ = call("--tables=IV", "--num_seeds=3", f"--budget_minutes={whole + 0.01}")
    assert f"about {whole:.0f} minutes on this machine, {whole / 2:.0f} of them to go" in out
    # Of six seeds for 400 epochs it is a quarter of one model's.
    share = reproduce.share_done(root, "mnist_basic", 2, num_seeds=6, num_epochs=400)
    assert share == 1 / 8


def test_the_seven_tables_bring_the_figures(call):
    _, out, started = call("--num_seeds=3")
    data, tables, figures, _ = started
    assert "--prepare=frey_face" in data
    assert "--latent=2,4,16,32,256,512" in tables
    assert "--dataset=frey_face" in figures
    assert "--latent=32" in figures
    assert "frey_face" in out


def test_seeds_that_share_a_gpu_are_not_cheaper(monkeypatch):
    few, many = (predict.minutes(COSTS, "cifar10", 16, n, 200) for n in (1, 2 * SEEDS))
    assert many > (2 * SEEDS - 1) * few
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    of_gpu = [predict.minutes(COSTS, "cifar10", 16, n, 200) for n in (1, SEEDS, 2 * SEEDS)]
    assert of_gpu[0] == of_gpu[1]
    assert of_gpu[2] == pytest.approx(many)


@pytest.mark.thorough
def test_costs_are_those_of_this_machine(root, monkeypatch):
    """Of another, or of other numbers of seeds, they are timed anew; here with the real script."""
    rows = json.loads((root / "costs.json").read_text())
    other = [{"machine": "other"}, {"num_seeds": 99}]
    rows = [row | other[i % 2] for i, row in enumerate(rows)]
    (root / "costs.json").write_text(json.dumps(rows))
    monkeypatch.setattr(predict, "LATENT_SIZES", (2,))
    monkeypatch.setattr(predict, "STEPS", 4)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(
        sys, "argv", ["reproduce", f"--root={root}", "--tables=IV", "--num_seeds=1"]
    )
    args = reproduce.parse()
    found = predict.measured(args.root, args.data_sets, args.num_seeds)
    assert found.keys() == {(784, 2, "vae"), (784, 2, "mvae")}
    assert all(cost.compile > 0 for cost in found.values())
    stored = json.loads((root / "costs.json").read_text())
    here = [row for row in stored if row["machine"] == f"{environment.processor()}, 0 GPUs"]
    assert {row["num_seeds"] for row in here} == {SEEDS, 99}
    assert all(row in stored for row in rows)  # what others measured is kept


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_handed_on_and_waited_for(tmp_path, signum):
    """The child saves after it was told to stop, and is never left behind."""
    child = (
        "import pathlib, signal, sys, time\n"
        "def stop(number, frame):\n"
        "    time.sleep(0.5); pathlib.Path('saved').touch(); sys.exit(130)\n"
        "signal.signal(signal.SIGINT, stop); signal.signal(signal.SIGTERM, stop)\n"
        "pathlib.Path('ready').touch(); time.sleep(60)"
    )
    source = f"import sys; from mvae_jax.sweep.local import call; sys.exit(call('-c', {child!r}))"
    with subprocess.Popen(
        [sys.executable, "-c", source], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}
    ) as process:
        while not (tmp_path / "ready").exists():
            time.sleep(0.05)
        process.send_signal(signum)
        assert process.wait(30) == 130
    assert (tmp_path / "saved").exists()


def test_a_dry_run_starts_nothing(call):
    returned, out, started = call("--dry_run")
    assert (returned, started) == (0, [])
    assert "cifar100" in out


@pytest.mark.parametrize(
    ("returns", "expected"),
    [((130,), 130), ((2,), 2), ((0, 130), 130), ((0, 1, 1), 1), ((0, 1, 0), 1), ((1, 0, 0), 0)],
)
def test_what_goes_wrong_is_handed_on(call, returns, expected):
    returned, _, started = call("--tables=IV", returns=returns)
    assert (returned, len(started)) == (expected, len(returns))


@pytest.mark.parametrize("damage", ['[{"pixels": 784}]', "{MACHINE}"])
def test_damaged_costs_are_named(call, root, damage):
    machine = f"{environment.processor()}, 0 GPUs"
    row = {
        "machine": machine,
        "num_seeds": SEEDS,
        "cost": {"compile": 1.0, "epoch": 0.0, "step": 1.0},
    }
    (root / "costs.json").write_text(damage.replace("{MACHINE}", json.dumps([row])))
    returned, out, _ = call("--tables=IV")
    assert returned == 2
    assert f"error: {root / 'costs.json'}: damaged" in out


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--budget_minutes=-5", "--budget_minutes: got '-5'; allowed: a number above 0"),
        ("--budget_minutes=nan", "--budget_minutes: got 'nan'; allowed: a number above 0"),
        ("--data_dir=/nowhere", "--data_dir: got '/nowhere', which is no folder"),
        ("--tables=IV,IV", "--tables: got 'IV'; allowed, once each: I, II"),
        ("--config.nope=5", "config.nope: no such field"),
        ("--config.num_epochs=5", "got '--config.num_epochs=5'; the plan has --tables"),
        ("--config.source=x", "source: got 'x' for mnist_basic; allowed: regenerated, icml2007"),
        ("--config.latent_size=3", "got '--config.latent_size=3'; the plan has --tables"),
        ("--root=/dev/null/x", "'/dev/null/x', which cannot be a folder (Not a directory)"),
        ("--seeds=3", "got '--seeds=3'; allowed beside those above: --config.FIELD=VALUE"),
    ],
)
def test_bad_input_is_refused_before_anything_is_timed(call, root, flag, said):
    (root / "costs.json").write_text("no JSON")  # which is not looked at
    returned, out, started = call(flag)
    assert (returned, started) == (2, [])
    assert said in out


def test_an_unknown_table_is_named(call):
    returned, out, _ = call("--tables=IV,VIII")
    assert returned == 2
    assert "--tables: got 'VIII'; allowed, once each: I, II, III, IV, V, VI, VII" in out
