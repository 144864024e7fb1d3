"""The whole paper by one command: its plan, what it leaves out for a budget, what it starts."""

import json
import subprocess
import sys

import predict
import pytest
import reproduce

from mvae_jax.report.claims import LATENT_SIZES

# Of one seed: 1 s to compile, and 60 epochs of 100 images a step take z seconds.
COSTS = {
    (pixels, z, model): predict.Cost(1.0, 0.0, z / 60_000)
    for pixels in (784, 3072)
    for z in LATENT_SIZES
    for model in ("vae", "mvae")
}


@pytest.fixture
def root(tmp_path):
    """A root whose costs were measured by an earlier call, three seeds at a time."""
    rows = [
        {"pixels": pixels, "latent_size": z, "model": model, "num_seeds": 3}
        | {"cost": cost._replace(step=3 * cost.step)._asdict()}
        for (pixels, z, model), cost in COSTS.items()
    ]
    (tmp_path / "costs.json").write_text(json.dumps(rows))
    return tmp_path


@pytest.fixture
def call(root, monkeypatch, capsys):
    """Returns a function: *flags -> exit status, output, and the commands that were started."""

    def call(*flags, returns=(0, 0)):
        started = []

        def run(command, **_):
            started.append(command)
            return subprocess.CompletedProcess(command, returns[len(started) - 1])

        monkeypatch.setattr(subprocess, "run", run)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        monkeypatch.setattr(sys, "argv", ["reproduce.py", f"--root={root}", *flags])
        returned = 0
        try:
            reproduce.main()
        except SystemExit as stop:
            returned = stop.code
        captured = capsys.readouterr()
        return returned, captured.out + captured.err, started

    return call


def test_minutes_are_those_of_both_models():
    steps = -(-predict.TRAINING_IMAGES[784]["mnist_basic"] // 100)
    seconds = 2 * (1 + 200 * steps * 5 * 32 / 60_000)
    found = reproduce.minutes(COSTS, "mnist_basic", 32, num_seeds=5, num_epochs=200)
    assert found == pytest.approx(seconds / 60)


def test_the_plan_is_printed_before_the_sweep_and_the_report(call, root):
    returned, out, started = call("--tables=I,IV", "--num_seeds=5", "--data_dir=DIR", "--jobs=2")
    assert returned == 0
    sweep, report = started
    assert sweep[1].endswith("sweep.py")
    assert "--dataset=cifar10,mnist_basic" in sweep
    assert "--latent=2,4,16,32,256,512" in sweep
    for flag in ("--num_seeds=5", "--config.num_epochs=200", "--data_dir=DIR", "--jobs=2"):
        assert flag in sweep
    assert report[1:] == [
        *("-m", "mvae_jax.report", str(root)),
        *("--document", str(root / "REPRODUCTION.md")),
    ]
    total = sum(
        reproduce.minutes(COSTS, dataset, z, 5, 200)
        for dataset in ("cifar10", "mnist_basic")
        for z in LATENT_SIZES
    )
    assert f"about {total:.0f} minutes on this machine" in out
    assert "left out" not in out


def test_a_budget_takes_fewer_seeds_then_fewer_latent_sizes(call):
    def whole(seeds, sizes=LATENT_SIZES):
        return sum(reproduce.minutes(COSTS, "mnist_basic", z, seeds, 200) for z in sizes)

    flags = ("--tables=IV", "--num_seeds=10")
    _, out, (sweep, _) = call(*flags, f"--budget_minutes={whole(7) + 0.01}")
    assert "--num_seeds=7" in sweep
    assert "left out, for the budget: 3 of 10 seeds" in out
    _, out, (sweep, _) = call(*flags, f"--budget_minutes={whole(3) - 0.01}")
    assert "--latent=2,4,16,32,256" in sweep
    assert "left out, for the budget: z=512" in out
    returned, out, started = call(*flags, "--budget_minutes=0.01")
    assert (returned, started) == (2, [])
    assert "--budget_minutes: got 0.01; the least, z=2 with 3 seeds, takes" in out


def test_fewer_epochs_are_said(call):
    _, out, (sweep, _) = call("--tables=IV", "--num_epochs=20")
    assert "--config.num_epochs=20" in sweep
    assert "the paper trains for 200 epochs: every table will say so" in out


def test_a_dry_run_starts_nothing(call):
    returned, out, started = call("--dry_run")
    assert (returned, started) == (0, [])
    assert "cifar100" in out


@pytest.mark.parametrize(
    ("returns", "expected"), [((130,), 130), ((2,), 2), ((1, 1), 1), ((1, 0), 1)]
)
def test_what_goes_wrong_is_handed_on(call, returns, expected):
    returned, _, started = call("--tables=IV", returns=returns)
    assert (returned, len(started)) == (expected, len(returns))


def test_an_unknown_table_is_named(call):
    returned, out, _ = call("--tables=IV,VIII")
    assert returned == 2
    assert "--tables: got 'VIII'; allowed: I, II, III, IV, V, VI, VII" in out
