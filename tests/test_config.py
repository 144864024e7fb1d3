"""The command line: what is accepted, and the one line for each mistake."""

import os
import shutil
import subprocess
import sys

import pytest
from absl import flags
from ml_collections import ConfigDict, FrozenConfigDict

from mvae_jax import command_line, resume, rules
from mvae_jax import config as config_lib
from mvae_jax.config import ConfigError
from mvae_jax.store import config_file, json_file
from tests.conftest import ROOT

CONFIGS = sorted(path.name for path in (ROOT / "configs").glob("*.py"))


def main(*arguments, cwd=ROOT):
    """Runs main on a machine whose only device fails at the first touch."""
    environment = {**os.environ, "JAX_PLATFORMS": "no_such_platform", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "mvae_jax.main", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


DIGITS = "--config=configs/digits.py:mvae,16"
TITLE = ", release protocol: 5 seeds, 200 epochs"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], ["--config", "missing", "configs/digits.py:mvae,16"]),
        (["--config=configs/digits.py"], ["model", "missing", "mvae,16"]),
        (["--config=configs/digits.py:mvae"], ["latent", "missing"]),
        (["--config=configs/digits.py:gan,16"], ["model", "'gan'", "vae, mvae", "posterior"]),
        (["--config=configs/digits.py:a/b,16"], ["model", "'a/b'", "a letter"]),
        ([DIGITS, "--config.posterior=family"], ["config.posterior", "'family'", "dotted path"]),
        ([DIGITS, "--config.posterior=no_such.f"], ["config.posterior", "'no_such.f'", "import"]),
        ([DIGITS, "--config.posterior=os.sep"], ["config.posterior", "'os.sep'", "Family"]),
        ([DIGITS, "--config.likelihood=os.sep"], ["config.likelihood", "'os.sep'", "Likelihood"]),
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
        ([DIGITS], ["JAX_PLATFORMS", "'no_such_platform'", "allowed on this machine: cpu"]),
        ([DIGITS, "--config.dataset=digit"], ["dataset", "digit"]),
        ([DIGITS, "--config.num_seeds=2000000000"], ["config.num_seeds", "1000000"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) and "-" in "".join(value) else "",
)
def test_a_mistake_exits_2_with_one_line_before_any_device_is_touched(arguments, named, tmp_path):
    done = main(*arguments, *([f"--workdir={tmp_path / 'run'}"] if arguments else []))
    assert done.returncode == 2, done.stderr
    *before, error = done.stderr.splitlines()
    assert len(before) <= 1, done.stderr
    assert all(line.endswith(TITLE) for line in before)  # of what takes imports to find
    assert error.startswith("error: ")
    for words in named:
        assert words in error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("flag", "named"),
    [
        ("--noconfig.couple_mean=1", "--noconfig.couple_mean=1 does not take an argument"),
        ("--noconfig.num_seeds", "noconfig.num_seeds"),
        ("--config.=1", "config.: no such field"),
        ("--config.tag.x=1", "config.tag.x: no such field; did you mean tag?"),
        ("--config.tag[0]=1", "config.'tag[0]': no such field; did you mean tag?"),
        ("--config.keys=1", "config.keys: no such field"),
        ("--config.sweep=1", "config.sweep: no such field; did you mean sweep."),
        ("--config.sweep.=1", "config.sweep.: no such field"),
        ("--config.sweep.learning_rate.x=1", "did you mean sweep.learning_rate?"),
        ("--config.sweep.learning_rate=True", "got True; allowed: a finite number above 0"),
        ("--config.sweep.learning_rate=" + "(" * 500, "(502 characters); allowed: a finite"),
        ("--config.sweep.learning_rate=((1,),)", "got (1,); allowed: a finite number above 0"),
        ("--config.tag=None", "config.tag: got 'None'; allowed: up to 100 letters"),
        ("--config.tag=" + "a" * 5000, "config.tag: got 'aaa"),
        ("--config.tag=a\0b", r"config.tag: got 'a\x00b'"),
        (
            "--config.dataset=a\0.npz",
            r"config.dataset: got 'a\x00.npz'; allowed: a path without NUL",
        ),
        ("--config.dataset=~nobody_/x.npz", "got '~nobody_/x.npz', of an unknown home folder"),
        ("--config.dataset=" + "a" * 300 + ".npz", "255 bytes for each name"),
        ("--config.iwae_samples=1.5", "got '1.5'; allowed: an integer of at least 0"),
        ("--config.iwae_samples=" + "9" * 30, "at most 1000000"),
        ("--config.first_seed=1e3", "an integer of at least 0, at most 2147483647"),
        ("--config.seeds_per_program=" + "9" * 30, "auto, or an integer from 1 to 999999"),
        ("--config.pixel_scale=True", "a number above 0, at most 1"),
        ("--config.num_seeds=x\ny", "config.num_seeds: got 'x y'"),
        ("--config.image_shape=1", "allowed: nothing, because the data set determines it"),
        ("--workdir=" + "a" * 300, "--workdir: got 'aaa"),
        ("--workdir=", "--workdir: got ''; allowed: a path"),
        ("--config=" + "a" * 5000, "config file: got 'aaa"),
        ("--config=" + "a" * 255, "is no file; shipped: configs/cifar10.py"),
        ("--config=\0", r"config file: got '\x00'; allowed: a path without NUL"),
        ("--config=README.md:mvae,4", "config file: got 'README.md', no Python (invalid"),
        ("--config=broken.py:mvae,4", "broken.py, line 2: ZeroDivisionError: division by zero"),
        ("--config=configs/digits.py:mvae,4\n", r"latent: got '4\n'"),
    ],
    ids=lambda value: ascii(value)[1:40],
)
def test_a_strange_flag_is_answered_in_one_line(flag, named, tmp_path, monkeypatch):
    (tmp_path / "broken.py").write_text("def get_config(argument):\n    return 1 / 0\n")
    shutil.copy(ROOT / "README.md", tmp_path)
    monkeypatch.chdir(tmp_path)
    values, argv = flags.FlagValues(), ["main", DIGITS, flag]
    command_line.define_config(values, argv)
    command_line.define_path("workdir", "a folder", values)
    with pytest.raises(ConfigError) as error:
        command_line.parse(argv, values)
    assert named in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 700


def test_help_has_every_flag_and_every_field_with_its_default_and_what_is_allowed():
    done = main("--help")
    assert (done.returncode, done.stderr) == (0, "")
    said = " ".join(done.stdout.split())
    assert set(rules.MEANINGS) == set(config_lib.defaults())
    for field, meaning in rules.MEANINGS.items():
        assert f" --config.{field}=" in said
        assert f" {meaning}" in said
        assert field == "sweep" or f"; allowed: {rules.RULES[field].allowed} " in f"{said} "
    for shown in ("num_epochs=200 ", "couple_mean=true ", "activation=tanh ", "iwae_samples=50 "):
        assert f" --config.{shown}" in said
    for flag in ("workdir", "data_dir", "metric", "tracker", "overwrite", "all"):
        assert f" --{flag} " in said


def test_a_run_says_what_it_is_before_it_imports_jax():
    """Which takes seconds, and on a busy machine ten."""
    code = (
        "import sys\nsys.modules['jax'] = None\n"
        f"sys.argv = ['main', {DIGITS!r}, '--config.sweep.beta=1,4', '--config.num_seeds=1']\n"
        "from mvae_jax import main\nmain.entry_point()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    first, *_, last = done.stderr.splitlines()
    said = "mvae z=16 on digits, release protocol: 1 seed, 2 replicates, 200 epochs"
    assert first == said
    assert last.startswith("ModuleNotFoundError: import of jax halted")


def test_a_rule_takes_values_of_any_type():
    values = [None, True, 1, 1.5, -1, 10**30, float("nan"), "", "x", b"x", (), [1], {"a": 1}]
    for field, rule in config_lib.RULES.items():
        for value in values:
            assert rule.holds(value) in (True, False), (field, value)
            if not rule.holds(value):
                fields = config_lib.base_config("digits", "mvae,4").to_dict() | {field: value}
                with pytest.raises(ConfigError, match=rf"config\.{field}: got"):
                    config_lib.validate(ConfigDict(fields))
    assert {*config_lib.RULES, "sweep"} == {*config_lib.base_config("digits", "mvae,4")}


def test_a_home_folder_in_a_path_is_expanded(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    config = config_lib.base_config("~/faces.npz", "mvae,4")
    config.photographs = "~/photographs"
    validated = config_lib.validate(config)
    assert validated.dataset == "/home/me/faces.npz"
    assert validated.photographs == "/home/me/photographs"


def test_fields_are_overridden_in_any_absl_spelling(tmp_path):
    code = (
        "import sys; from absl import flags; from mvae_jax import command_line, main\n"
        "command_line.parse_flags(sys.argv); c = flags.FLAGS.config\n"
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
    for spelling in ("some/where/faces.npz", "./faces.npz", "/some/faces.npz"):
        own = config_lib.base_config(spelling, "vae,2,paper")
        own.tag = "wide"
        assert str(config_lib.default_workdir(own)) == "runs/faces/paper/vae-z2-wide"
    hidden = config_lib.base_config(".faces.npz", "vae,2")
    assert str(config_lib.default_workdir(hidden)) == "runs/faces/release/vae-z2"


def test_config_json_round_trip(tmp_path):
    config = config_lib.base_config("digits", "mvae,16")
    config.image_shape = (8, 8, 1)
    (tmp_path / "config.json").write_text(json_file.dumps(config.to_dict()))
    assert config_file.read(tmp_path / "config.json") == FrozenConfigDict(config)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ConfigError, match=r"config\.json"):
        config_file.read(tmp_path / "config.json")


def test_settle_takes_what_was_resolved_and_names_every_difference():
    def config(**fields):
        made = config_lib.base_config("digits", "mvae,16")
        made.update(fields)
        return made

    stored = config(seed_mode="map", pixel_scale=1 / 255)
    settled = resume.settle(config(num_epochs=300, num_seeds=7), stored)
    assert (settled.seed_mode, settled.pixel_scale) == ("map", 1 / 255)
    assert (settled.num_epochs, settled.num_seeds) == (300, 7)
    with pytest.raises(ConfigError) as error:
        resume.settle(config(learning_rate=3e-4, num_seeds=2, seed_mode="vmap"), stored)
    for words in (
        "learning_rate (0.001 stored, 0.0003",
        "num_seeds (5",
        "seed_mode",
        "--overwrite",
    ):
        assert words in str(error.value)


def test_settle_takes_other_values_of_harmless_fields_and_other_paths_of_equal_data():
    def config(data="1" * 64, **fields):
        made = config_lib.base_config("my.npz", "mvae,16")
        made.update(fields | {"data_sha256": data})
        return made

    stored = config(photographs="a")
    changed = {"checkpoint_every": 7, "keep_embeddings": False, "tag": "b"}
    asked = config(dataset="/data/my.npz", photographs="/data/a", seeds_per_program="2", **changed)
    settled = resume.settle(asked, stored)
    assert (settled.dataset, settled.photographs) == ("my.npz", "a")
    assert {field: settled[field] for field in changed} == changed
    for data in (None, "2" * 64):  # not known, or other data
        asked.data_sha256 = data
        with pytest.raises(ConfigError, match=r"dataset \('my.npz' stored, '/data/my.npz' asked"):
            resume.settle(asked, stored)


def test_settle_of_a_run_that_is_older_than_some_fields():
    older = config_lib.base_config("digits", "mvae,16")
    for field in ("beta", "sweep", "seeds_per_program"):
        del older[field]
    config = config_lib.base_config("digits", "mvae,16")
    assert resume.settle(config, older).beta == 1.0
    config.beta = 2.0
    with pytest.raises(ConfigError, match=r"in beta \(1.0 stored, 2.0 asked for\);"):
        resume.settle(config, older)


def test_settle_names_the_swept_field_that_differs():
    configs = [config_lib.base_config("digits", "mvae,16") for _ in range(2)]
    for config, values in zip(configs, ((1e-4, 1e-3), (1e-4,)), strict=True):
        config.sweep.learning_rate = values
    stored = r"sweep\.learning_rate \(\(0\.0001, 0\.001\) stored, \(0\.0001,\) asked for\);"
    with pytest.raises(ConfigError, match=f"in {stored}"):
        resume.settle(configs[1], configs[0])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"sweep": None}, "config.sweep: got None"),
        ({"sweep": {"beta": "1"}}, "config.sweep.beta: got '1'; allowed: values"),
        ({"latent_size": "4"}, "latent_size is '4'; allowed: an integer of at least 1"),
        ({"likelihood": []}, r"likelihood is \(\); allowed: bernoulli"),
        ({"image_shape": [8, 8]}, r"image_shape is \(8, 8\); allowed: \[height, width, channels\]"),
        ({"image_shape": 8}, r"image_shape is 8; allowed: \[height"),
        ({"a.b": 1}, "a.b"),
        ({"x": 10**400}, "an integer is 1000"),
    ],
)
def test_a_stored_configuration_is_checked(tmp_path, fields, said):
    config = config_lib.base_config("digits", "mvae,16").to_dict() | fields
    (tmp_path / "config.json").write_text(json_file.dumps(config))
    with pytest.raises(ConfigError, match=said):
        config_file.read(tmp_path / "config.json")


def test_a_run_of_too_many_replicates_is_refused():
    config = config_lib.base_config("digits", "mvae,16")
    config.sweep.beta = config.sweep.learning_rate = tuple(0.1 * n for n in range(1, 101))
    with pytest.raises(ConfigError, match=r"50,000 replicates; allowed: at most 10,000"):
        config_lib.validate(config)
