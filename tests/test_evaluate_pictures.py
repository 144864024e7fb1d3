"""What is measured from pictures and the model's arrays, on inputs whose answer is known."""

import numpy as np
import pytest

from mvae_jax.evaluate import pictures as measures
from mvae_jax.evaluate.metrics import METRICS
from mvae_jax.evaluate.scoring import score
from mvae_jax.store import files, pictures_file
from tests.evaluated_runs import entries, pictures, reasons, values, write_run

pytestmark = pytest.mark.usefixtures("one_thread")


def sweep(values):
    """A plane whose pictures are flat, of the given [10, 10] brightness."""
    return np.broadcast_to(np.asarray(values)[:, :, None, None, None], (10, 10, 4, 4, 1))


def test_an_even_ramp_is_smooth_and_monotone():
    ramp = np.add.outer(np.arange(10), np.arange(10)) / 20
    found = measures.measure_sweep(sweep(ramp))
    assert found == pytest.approx(
        {"sweep_roughness": 0, "sweep_monotonicity": 1, "sweep_flatness": 0}, abs=1e-12
    )


def test_a_zigzag_is_rough_and_turns_back():
    zigzag = np.add.outer(np.arange(10) % 2, np.arange(10) % 2) / 2
    found = measures.measure_sweep(sweep(zigzag))
    # Nine steps of +-1/2 leave a net change of 1/2; eight bends of 1.
    assert found["sweep_monotonicity"] == pytest.approx(1 / 9)
    assert found["sweep_roughness"] == pytest.approx(8 / 4.5)


def test_a_constant_sweep_is_flat_and_has_no_shape():
    assert measures.measure_sweep(sweep(np.ones((10, 10)))) == {"sweep_flatness": 1}


def test_half_a_sweep_that_stands_still():
    plane = np.zeros((10, 10))
    plane[:, 5:] = np.linspace(0.5, 1, 5)
    assert measures.measure_sweep(sweep(plane))["sweep_flatness"] == pytest.approx(
        (90 + 10 * 4) / 180  # every vertical step, and four of nine horizontal ones
    )


def test_one_latent_dimension_has_one_direction():
    line = np.linspace(0, 1, 10)[:, None, None, None, None] * np.ones((10, 1, 4, 4, 1))
    assert measures.measure_sweep(line)["sweep_monotonicity"] == pytest.approx(1)


def test_high_frequency_energy_of_waves():
    x = np.arange(16)
    slow, fast = np.cos(2 * np.pi * x / 16), np.cos(2 * np.pi * 6 * x / 16)
    images = np.broadcast_to((slow + 0.5 * fast)[None, None, :, None], (3, 16, 16, 1))
    only_fast = np.broadcast_to(0.5 * fast[None, None, :, None], (3, 16, 16, 1))
    whole = measures.high_frequency_energy(images)
    assert whole == pytest.approx(measures.high_frequency_energy(only_fast))
    assert measures.high_frequency_energy(images / 2) == pytest.approx(whole / 4)
    blurred = np.broadcast_to(slow[None, None, :, None], (3, 16, 16, 1))
    assert measures.high_frequency_energy(blurred) == pytest.approx(0, abs=1e-20)


def of_split(*splits):
    return {name for name, metric in METRICS.items() if metric.split in splits}


def write_pictures(run, **changed):
    files.write_npz(run / "pictures" / "seed_0.npz", pictures() | changed)


def test_the_scores_are_those_of_the_pictures_and_the_model(tmp_path):
    run = write_run(tmp_path / "run", seeds=(0,), couple_mean=True)
    kernel = {"params/encoder/kernel": np.zeros((7, 3)), "params/encoder/bias": np.zeros(3)}
    others = {"params/coupling": np.eye(4), "seed": np.asarray(0)}
    files.write_npz(run / "model" / "seed_0.npz", kernel | others)
    assert score(run, jobs=1)
    found, held = values(entries(run)["seed_0"]), pictures()
    inputs, outputs = held["input"], held["reconstruction_sampled"]
    assert found["num_parameters"] == 21 + 3 + 16
    assert found["multiply_adds"] == 21 + 2 * 16  # C times the noise, and times the mean
    assert found["mse_first_48"] == pytest.approx(((inputs - outputs) ** 2).mean())
    energy = [measures.high_frequency_energy(images) for images in (outputs, inputs)]
    assert found["high_frequency_energy"] == energy[0] / energy[1]
    sweep = measures.measure_sweep(held["sweep"])
    assert {name: found[name] for name in sweep} == sweep


def test_the_error_of_bytes_does_not_wrap_around():
    black, grey = (np.full((1, 2, 2, 1), value, np.uint8) for value in (0, 20))
    assert pictures_file.mean_squared_error(black, grey) == 400


def test_without_pictures_and_model_their_metrics_are_absent_with_the_reason(tmp_path):
    run = write_run(tmp_path / "run", seeds=(0,))
    for room in ("model", "pictures"):
        (run / room / "seed_0.npz").unlink()
    assert score(run, jobs=1)
    found = reasons(entries(run)["seed_0"])
    assert found.keys() == of_split("model", "run", "pictures")
    assert {found[name] for name in of_split("pictures")} == {
        "no pictures/seed_0.npz in the run folder"
    }
    assert "no such file" in found["num_parameters"]


def test_pictures_whose_squares_overflow_have_no_error(tmp_path, recwarn):
    huge = np.random.default_rng(0).normal(size=(10, 10, 4, 4, 1)).astype(np.float32) * 1e30
    run = write_run(tmp_path / "run", seeds=(0,))
    write_pictures(run, input=huge[0], reconstruction_sampled=-huge[0], sweep=huge)
    assert score(run, jobs=1)
    found = reasons(entries(run)["seed_0"])
    assert found.keys() == {"mse_first_48", "high_frequency_energy"}
    assert not recwarn.list


def test_a_sweep_that_does_not_change_has_its_flatness_alone(tmp_path):
    run = write_run(tmp_path / "run", seeds=(0,))
    write_pictures(run, sweep=np.ones((4, 4, 6, 5, 1)))
    assert score(run, jobs=1)
    assert reasons(entries(run)["seed_0"]).keys() == {"sweep_roughness", "sweep_monotonicity"}


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"input": np.ones((3, 6, 5))}, r"input is float64 [3, 6, 5], not numbers with 4 axes"),
        ({"input": np.ones((2, 6, 5, 1))}, "input and reconstruction_sampled differ in shape"),
    ],
)
def test_pictures_of_another_format_cost_no_other_metric(tmp_path, changed, reason):
    run = write_run(tmp_path / "run", seeds=(0,))
    write_pictures(run, **changed)
    assert score(run, jobs=1)
    found = reasons(entries(run)["seed_0"])
    assert found.keys() == of_split("pictures")
    assert all(reason in text for text in found.values())
