"""What is measured from pictures, weights and times, on inputs whose answer is known."""

import numpy as np
import pytest

from mvae_jax.report import measures
from mvae_jax.store import seal


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


def test_pictures_give_the_error_of_the_first_images(tmp_path):
    rng = np.random.default_rng(0)
    inputs, outputs = rng.uniform(size=(2, 48, 6, 5, 1))
    path = tmp_path / "pictures" / "seed_1.npz"
    path.parent.mkdir()
    plane = rng.uniform(size=(10, 10, 6, 5, 1))
    np.savez(
        path, input=inputs, reconstruction_sampled=outputs, sweep=plane, sweep_values=np.arange(10)
    )
    found = measures.measure_pictures(tmp_path, "seed_1", {})
    assert found["mse_first_48"] == pytest.approx(((inputs - outputs) ** 2).mean())
    assert measures.measure_pictures(tmp_path, "absent", {}) == {}
    black, grey = (np.full((1, 2, 2, 1), value, np.uint8) for value in (0, 20))
    assert measures.mean_squared_error(black, grey) == 400
    with pytest.raises(ValueError, match="damaged: its SHA-256"):
        measures.measure_pictures(tmp_path, "seed_1", {"pictures/seed_1.npz": "0" * 64})


def test_pictures_whose_squares_overflow_have_no_error(tmp_path, recwarn):
    (tmp_path / "pictures").mkdir()
    huge = np.random.default_rng(0).normal(size=(10, 10, 4, 4, 1)).astype(np.float32) * 1e30
    pictures = {"input": huge[0], "reconstruction_sampled": -huge[0], "sweep": huge}
    np.savez(tmp_path / "pictures" / "seed_1.npz", sweep_values=np.arange(10), **pictures)
    found = measures.measure_pictures(tmp_path, "seed_1", {})
    assert set(found) == {"sweep_roughness", "sweep_monotonicity", "sweep_flatness"}
    assert not recwarn.list


def test_the_time_of_an_epoch_is_the_seeds_median(tmp_path):
    (tmp_path / "done").mkdir()
    for seed, seconds in enumerate((2.0, 3.0, 7.0, None)):
        record = {"seed": seed, "epoch": 9} | ({"epoch_seconds": seconds} if seconds else {})
        (tmp_path / "done" / f"seed_{seed}.json").write_text(seal.dumps(record))
    assert measures.measure_run(tmp_path, {}) == {"epoch_seconds": 3}
