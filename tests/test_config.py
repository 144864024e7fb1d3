"""The command line: what is accepted, and the one line for each mistake."""

import os
import subprocess
import sys

import pytest
from ml_collections import FrozenConfigDict

from mvae_jax import config as config_lib
from mvae_jax.config import ConfigError
from tests.conftest import ROOT

CONFIGS = sorted(path.name for path in (ROOT / "configs").glob("*.py"))


def main(*arguments, cwd=ROOT):
    """Runs main on a machine whose only device fails at the first touch."""
    environment = {**os.environ, "JAX_PLATFORMS": "no_such_platform", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "mvae_jax.main", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


DIGITS = "--config=configs/digits.py:mvae,16"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], ["--config", "missing", "configs/digits.py:mvae,16"]),
        (["--config=configs/digits.py"], ["model", "missing", "mvae,16"]),
        (["--config=configs/digits.py:mvae"], ["latent", "missing"]),
        (["--config=configs/digits.py:gan,16"], ["model", "'gan'", "mvae, vae"]),
        (["--config=configs/digits.py:mvae,0"], ["latent", "'0'", "at least 1"]),
        (["--config=configs/digits.py:mvae,x"], ["latent", "'x'", "at least 1"]),
        (["--config=configs/digits.py:mvae, 16"], ["latent", "' 16'"]),
        (["--config=configs/digits.py:mvae,16,text"], ["protocol", "'text'", "release, paper"]),
        (["--config=configs/digits.py:mvae,16,paper,1"], ["too many parts"]),
        (["--config=configs/nothing.py:mvae,16"], ["config file", "nothing.py", "digits.py"]),
        (["--config=nothing.py:mvae,16"], ["config file", "nothing.py", "digits.py"]),
        ([DIGITS, "--config.num_seed=3"], ["num_seed", "did you mean num_seeds?"]),
        ([DIGITS, "--config.num_seeds=many"], ["config.num_seeds", "many", "at least 1"]),
        ([DIGITS, "--config.learning_rate=-1"], ["config.learning_rate", "-1", "above 0"]),
        ([DIGITS, "--config.latent_size=0"], ["config.latent_size", "0", "at least 1"]),
        ([DIGITS, "--config.couple_mean=maybe"], ["config.couple_mean", "'maybe'", "true, false"]),
        ([DIGITS, "--config.activation=sine"], ["config.activation", "'sine'", "tanh"]),
        ([DIGITS, "--config.likelihood=poisson"], ["config.likelihood", "'poisson'", "bernoulli"]),
        ([DIGITS, "--config.seed_mode=fast"], ["config.seed_mode", "'fast'", "auto, vmap, map"]),
        ([DIGITS, "--config.tag=a/b"], ["config.tag", "a/b"]),
        ([DIGITS, "--no_such_flag=1"], ["no_such_flag"]),
        ([DIGITS, "stray"], ["stray", "flags only"]),
        (["--config.num_seeds=3", DIGITS], ["--config.num_seeds=3", "behind --config"]),
        ([DIGITS, "--config.batch_size=5000"], ["config.batch_size", "5000", "1438", "digits"]),
        ([DIGITS, "--config.dataset=digit"], ["dataset", "digit"]),
        ([DIGITS, "--config.num_seeds=2000000000"], ["config.num_seeds", "1000000"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) and "-" in "".join(value) else "",
)
def test_a_mistake_exits_2_with_one_line_before_any_device_is_touched(arguments, named, tmp_path):
    done = main(*arguments, *([f"--workdir={tmp_path / 'run'}"] if arguments else []))
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("error: ")
    for words in named:
        assert words in done.stderr
    assert not (tmp_path / "run").exists()


def test_fields_are_overridden_in_any_absl_spelling(tmp_path):
    code = (
        "import sys; from absl import flags; from mvae_jax import config, main\n"
        "config.parse_flags(sys.argv); c = flags.FLAGS.config\n"
        "print(c.model, c.latent_size, c.num_seeds, c.num_epochs, c.couple_mean)"
    )
    spelled = ["--config", "configs/digits.py:vae,2", "--config.num_seeds", "2"]
    spelled += ["--config.num_epochs=3", "--noconfig.couple_mean"]
    done = subprocess.run(
        [sys.executable, "-c", code, *spelled],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["vae", "2", "2", "3", "False"], done.stderr


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("argument", ["mvae,16", "vae,2", "mvae,32,paper"])
def test_every_shipped_config_is_valid_and_opens_with_its_command(name, argument):
    namespace: dict = {}
    source = (ROOT / "configs" / name).read_text()
    exec(compile(source, name, "exec"), namespace)
    config = config_lib.validate(namespace["get_config"](argument))
    model, latent, *protocol = argument.split(",")
    assert (config.model, config.latent_size) == (model, int(latent))
    assert config.protocol == (protocol or ["release"])[0]
    assert f"python -m mvae_jax.main --config=configs/{name}:" in namespace["__doc__"]
    assert config.dataset == name.removesuffix(".py")


def test_the_nine_data_sets_have_a_config():
    variants = ("basic", "rotated", "background_images", "background_random")
    mnist = [f"mnist_{variant}.py" for variant in variants]
    others = ["cifar10.py", "cifar100.py", "digits.py", "fashion_mnist.py", "frey_face.py"]
    assert sorted([*mnist, *others]) == CONFIGS


def test_default_run_folder():
    config = config_lib.base_config("mnist_basic", "mvae,16", source="regenerated")
    assert str(config_lib.default_workdir(config)) == (
        "runs/mnist_basic-regenerated/release/mvae-z16"
    )
    own = config_lib.base_config("some/where/faces.npz", "vae,2,paper")
    own.tag = "wide"
    assert str(config_lib.default_workdir(own)) == "runs/faces/paper/vae-z2-wide"


def test_config_json_round_trip(tmp_path):
    config = config_lib.base_config("digits", "mvae,16")
    config.image_shape = (8, 8, 1)
    (tmp_path / "config.json").write_text(config_lib.to_json(config))
    assert config_lib.read(tmp_path / "config.json") == FrozenConfigDict(config)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ConfigError, match=r"config\.json"):
        config_lib.read(tmp_path / "config.json")


def test_settle_takes_what_was_resolved_and_names_every_difference():
    def config(**fields):
        made = config_lib.base_config("digits", "mvae,16")
        made.update(fields)
        return made

    stored = config(seed_mode="map", pixel_scale=1 / 255)
    settled = config_lib.settle(config(num_epochs=300, num_seeds=7), stored)
    assert (settled.seed_mode, settled.pixel_scale) == ("map", 1 / 255)
    assert (settled.num_epochs, settled.num_seeds) == (300, 7)
    with pytest.raises(ConfigError) as error:
        config_lib.settle(config(learning_rate=3e-4, num_seeds=2, seed_mode="vmap"), stored)
    for words in (
        "learning_rate (0.001 stored, 0.0003",
        "num_seeds (5",
        "seed_mode",
        "--overwrite",
    ):
        assert words in str(error.value)


def test_settle_of_a_run_that_is_older_than_some_fields():
    older = config_lib.base_config("digits", "mvae,16")
    for field in ("beta", "sweep", "seeds_per_program"):
        del older[field]
    config = config_lib.base_config("digits", "mvae,16")
    assert config_lib.settle(config, older).beta == 1.0
    config.beta = 2.0
    with pytest.raises(ConfigError, match=r"in beta \(1.0 stored, 2.0 asked for\);"):
        config_lib.settle(config, older)


def test_settle_names_the_swept_field_that_differs():
    configs = [config_lib.base_config("digits", "mvae,16") for _ in range(2)]
    for config, values in zip(configs, ((1e-4, 1e-3), (1e-4,)), strict=True):
        config.sweep.learning_rate = values
    stored = r"sweep\.learning_rate \(\(0\.0001, 0\.001\) stored, \(0\.0001,\) asked for\);"
    with pytest.raises(ConfigError, match=f"in {stored}"):
        config_lib.settle(configs[1], configs[0])
