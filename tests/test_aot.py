"""launch/aot.py: how its counts are read, and bounds on them where a compiler is installed."""

import importlib.util
import subprocess
import sys

import aot
import pytest

from tests.conftest import ROOT

THUNKS = """\
000: kCommandBuffer [source | next=002 (1)]
    001: kCustomKernel [source | sink] before_the_loop
002: kWhile [prev=000 (1) | next=009 (1)]
condition:
    003: kCustomKernel [source | sink] the_condition
  body:
    000: kCommandBuffer [source | next=006 (1)]
        004: kCustomKernel [source | sink] fusion
        005: kGemm [source | sink] product
    006: kWhile [source | sink]
    condition:
        007: kCustomKernel [source | sink] inner_condition
      body:
        008: kTriangularSolve [source | sink] solve
009: kCustomKernel [prev=002 (1) | sink] after_the_loop
"""


def test_the_launches_of_a_step_are_those_inside_the_loop_over_steps():
    expected = {"kernels": 4, "loops": 1, "command buffers": 1, "apart": 1}
    assert aot.launches(THUNKS) == expected


def compiled(target, model, latent_size):
    """Returns the row of one program, by its headers."""
    config = f"--config={ROOT}/configs/mnist_basic.py:{model},{latent_size}"
    flags = [f"--target={target}", config, "--config.num_seeds=16"]
    command = [sys.executable, "launch/aot.py", *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    headers, _, row = done.stdout.splitlines()[-3:]
    names = [name for name in headers.split("  ") if name]
    return dict(zip((name.strip() for name in names), row.split(), strict=True))


@pytest.mark.slow
@pytest.mark.skipif(
    not importlib.util.find_spec("jax_cuda12_plugin"),
    reason="no CUDA compiler; pip install -e '.[cuda]'",
)
@pytest.mark.parametrize(("model", "more"), [("triangular", 8), ("mvae", 25)])
def test_an_h100_launches_few_kernels_more_than_for_the_vae(model, more):
    vae, row = (compiled("h100", name, 16) for name in ("vae", model))
    assert int(row["kernels"]) <= int(vae["kernels"]) + more
    assert (row["loops"], row["command buffers"], row["apart"]) == ("0", "1", "0")


@pytest.mark.slow
@pytest.mark.skipif(
    not importlib.util.find_spec("libtpu"), reason="no TPU compiler; pip install -e '.[tpu]'"
)
@pytest.mark.parametrize("model", ["triangular", "lu", "mvae"])
def test_a_tpu_compiles_it_in_little_more_time_than_the_vae(model):
    vae, row = (float(compiled("v5e", name, 16)["compile s"]) for name in ("vae", model))
    assert row <= 1.3 * vae
