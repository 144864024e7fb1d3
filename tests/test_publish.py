"""A published run is what the run was: parameters, programs, scores and the command."""

import json
import shlex
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from jax import export

import mvae_jax
from mvae_jax import config as config_lib
from mvae_jax import evaluate, model, posteriors, publish
from mvae_jax.store import config_file
from mvae_jax.sweep import grid
from tests.trained_runs import finished, small  # noqa: F401

RNG = np.random.default_rng(0)
IMAGES = jnp.asarray(RNG.integers(0, 256, (7, 8, 8, 1)), jnp.uint8)


@pytest.fixture(scope="module")
def scored(finished, tmp_path_factory):  # noqa: F811
    folder = tmp_path_factory.mktemp("scored") / "run"
    shutil.copytree(finished, folder)
    evaluate.score([folder])
    return folder


@pytest.fixture(scope="module")
def published(scored):
    out = scored.parent / "hub" / "a model"
    publish.publish(scored, out, programs=True)
    return out


def test_the_folder_has_what_a_hub_shows_and_no_more(published):
    assert sorted(path.name for path in published.iterdir()) == [
        *("README.md", "config.json", "decode.bin", "encode.bin", "model.safetensors")
    ]
    assert [path.name for path in published.parent.iterdir()] == ["a model"]


def test_the_parameters_are_those_of_the_run(scored, published):
    config, params = mvae_jax.load(scored, 777)
    again, same = mvae_jax.load_published(published)
    assert again == config
    assert jax.tree.structure(same) == jax.tree.structure(params)
    assert jax.tree.all(jax.tree.map(np.array_equal, same, params))


@pytest.mark.parametrize("name", ["vae,3", "mvae,3", "iaf,3"])
def test_exported_programs_take_any_number_of_examples(name):
    config = config_lib.replace(small(name), image_shape=(8, 8, 1), pixel_scale=1 / 255)
    params = model.init(config, jax.random.key(0))
    programs = {
        name: export.deserialize(program.serialize())
        for name, program in publish.exported(config, params).items()
    }
    for number in (1, 7):
        images = IMAGES[:number]
        q = mvae_jax.encode(config, params, images)
        found = programs["encode"].call(images)
        one_by_one = [model.encode(config, params, model.scale_pixels(config, x)) for x in images]
        mu = [posteriors.of(config).embedding(each) for each in one_by_one]
        assert np.allclose(found["mu"], mu, atol=1e-6)
        if name != "iaf,3":
            assert np.allclose(found["log_variance"], q.log_variance, atol=1e-6)
        means = mvae_jax.decode(config, params, found["mu"])
        assert np.allclose(programs["decode"].call(found["mu"]), means, atol=1e-6)


def test_the_card_has_the_scores_of_all_seeds(scored, published):
    front, card = (published / "README.md").read_text().split("---\n", 2)[1:]
    [described] = yaml.safe_load(front)["model-index"]
    values = mvae_jax.scores(scored).values
    means = values.groupby("metric").value.mean()
    [result] = described["results"]
    assert result["dataset"]["name"] == "digits"
    assert {m["type"]: m["value"] for m in result["metrics"]} == pytest.approx(
        means[list(publish.PRINTED)].to_dict(), abs=1e-6
    )
    assert f"ELBO (nats) ↑ | {means['elbo']:.2f} " in " ".join(card.split())


@pytest.mark.parametrize(
    ("argument", "fields"),
    [
        ("mvae,16,release", {}),
        ("vae,2,paper", {"num_epochs": 7, "couple_mean": True, "tag": "a-tag"}),
        ("lu,4,release", {"sweep": {"beta": (0.5, 2.0)}, "learning_rate": 3e-4}),
        ("mvae,4,release", {"dataset": "my tiles.npz", "likelihood": "gaussian"}),
    ],
)
def test_the_command_asks_for_the_same_configuration(argument, fields):
    config = config_lib.base_config("digits", argument)
    config.update(fields)
    words = publish.command(config_lib.validate(config))
    assert words.startswith("python -m mvae_jax.main --config=")
    assert grid.resolve(shlex.split(words)[3:]).to_dict() == config.to_dict()


def test_mistakes_are_answered_in_one_line_and_leave_nothing(scored, finished, published, tmp_path):  # noqa: F811
    with pytest.raises(FileExistsError, match=r"--out: got .*, which is there; choose a new"):
        publish.publish(scored, published)
    with pytest.raises(FileNotFoundError, match="replicates with a model: seed_777, seed_778"):
        publish.publish(scored, tmp_path / "a", seed=1)
    with pytest.raises(ValueError, match="got 0 scored runs; allowed: one run's folder"):
        publish.publish(tmp_path, tmp_path / "a")
    assert not any(tmp_path.iterdir())


def test_a_file_of_another_kind_is_refused(published, tmp_path):
    from safetensors.numpy import save_file

    damaged = tmp_path / "model.safetensors"
    damaged.write_bytes((published / damaged.name).read_bytes()[:500])
    with pytest.raises(ValueError, match=r"model\.safetensors: damaged .*; fetch it again"):
        mvae_jax.load_published(tmp_path)
    save_file({"a": np.zeros(3)}, damaged)
    with pytest.raises(ValueError, match="got a file of another program; allowed: of mvae_jax"):
        mvae_jax.load_published(tmp_path)
    with pytest.raises(FileNotFoundError):
        mvae_jax.load_published(tmp_path / "nowhere")


def test_the_configuration_beside_it_is_the_headers(published):
    config, _ = mvae_jax.load_published(published)
    stored = config_file.read(published / "config.json", sealed=True)
    assert json.dumps(stored.to_dict()) == json.dumps(config.to_dict())
