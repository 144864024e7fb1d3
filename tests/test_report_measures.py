"""What is measured from pictures, weights and times, on inputs whose answer is known."""

import numpy as np
import pytest

from mvae_jax.report import measures
from mvae_jax.store import seal


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
