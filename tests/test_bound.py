"""What the paper costs at least on an accelerator, against programs compiled for one."""

import bound
import pytest

H100 = bound.DEVICES["h100"]


@pytest.mark.parametrize(
    ("model", "latent_size", "compiled"),  # MB per seed by launch/aot.py, 16 seeds of MNIST Basic
    [("vae", 16, 13.6), ("mvae", 16, 23.3), ("vae", 512, 25.7), ("mvae", 512, 53.1)],
)
def test_memory_is_that_of_the_compiled_program(model, latent_size, compiled):
    memory, _ = bound.per_seed(model, latent_size, 784, H100)
    assert memory / 1e6 == pytest.approx(compiled, rel=0.02)


def test_the_least_time_is_that_of_the_traffic_or_of_the_products():
    """By hand: 784-500-2 and back, heads of 2 numbers each, float32, a batch of 100."""
    parameters = 785 * 500 + 2 * 501 * 2 + 3 * 500 + 501 * 784
    moved = 40 * parameters + 2 * 100 * 2 * 784 * 4
    _, seconds = bound.per_seed("vae", 2, 784, H100)
    assert seconds == pytest.approx(moved / 3.35e12, rel=1e-3)
    slow = bound.Device(80e9, 3.35e12, 1e12)
    _, seconds = bound.per_seed("vae", 2, 784, slow)
    assert seconds == pytest.approx(600 * parameters / 1e12, rel=1e-3)


def test_the_text_has_the_whole_paper():
    """The steps by hand: 200 epochs of a data set's four fifths, in batches of 100, 12 shapes."""
    said = bound.report("h100", 1, 200).splitlines()
    assert len(said) == 2 + 24 + 2 + 1
    assert said[-1].startswith("predicted for one h100, not measured: ")
    five = bound.report("h100", 5, 200).splitlines()[-1]
    minutes = [int(line.split(" takes ")[1].split()[0]) for line in (said[-1], five)]
    assert minutes[1] == pytest.approx(5 * minutes[0], abs=3)
