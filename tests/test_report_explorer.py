"""The latent explorer: its pictures, drawn in a real browser, against the Python decoder's."""

import json
import re
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mvae_jax import inference, model
from mvae_jax.report import explorer, render
from tests.fake_runs import draw, write_run
from tests.test_report_html import BROWSER

SHAPES = [
    ((6, 5, 1), "tanh", 1),
    ((4, 3, 3), "gelu", 2),
    ((4, 3, 1), "relu", 1),
    ((4, 3, 5), "silu", 2),
]
PLACE = (1.3, -0.7)


@pytest.fixture
def write_models(tmp_path, make_config):
    """Returns a function: fields of a configuration -> model -> its configuration and parameters.

    Weights are large enough for pictures that are not grey.
    """

    def write(image_shape=(6, 5, 1), activation="tanh", num_hidden_layers=1):
        fields = {"image_shape": image_shape, "activation": activation}
        written = {}
        for name in ("vae", "mvae"):
            config = make_config(f"{name},4", num_hidden_layers=num_hidden_layers, **fields)
            params = model.init(config, jax.random.key(len(name)))
            params = jax.tree.map(lambda leaf: 4 * leaf, params)
            seeds = (777, 778)
            run = write_run(tmp_path / "runs", name, 4, {"mse": draw(0.5, 0.1, seeds)}, **fields)
            for folder in ("model", "embeddings", "pictures"):
                (run / folder).mkdir(exist_ok=True)
            for seed in seeds:
                of_seed = jax.tree.map(lambda leaf, seed=seed: leaf * (seed - 776), params)
                arrays = inference.flatten_params(of_seed)
                np.savez(run / "model" / f"seed_{seed}.npz", **arrays)
                mu = np.random.default_rng(seed).normal(size=(3, 4)).astype(np.float32)
                embedded = {"mu_test": mu, "index_test": np.array([50, 1, 0])}
                np.savez(run / "embeddings" / f"seed_{seed}.npz", **embedded)
                inputs = np.random.default_rng(0).random((2, *image_shape))
                pictures = {"input": inputs, "reconstruction_sampled": inputs}
                pictures |= {"sweep": inputs[None], "sweep_values": np.zeros(1)}
                np.savez(run / "pictures" / f"seed_{seed}.npz", **pictures)
            written[name] = config, params
        return written

    return write


def page(tmp_path):
    render([tmp_path / "runs"], tmp_path / "report")
    return tmp_path / "report" / "explorer-digits-release.html"


PROBE = """
<script>
const pixels = () => models.map((model, index) => {
  const canvas = document.getElementById(`canvas-${index}`);
  return [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data];
});
const box = plane.getBoundingClientRect();
plane.dispatchEvent(new PointerEvent("pointermove", {
  buttons: 1,
  clientX: box.left + box.width * (0.5 + 1.3 / 9),
  clientY: box.top + box.height * (0.5 + 0.7 / 9),
}));
const found = { dragged: { ...point }, z: pixels() };
kind.value = "singular"; kind.dispatchEvent(new Event("change"));
found.singular = pixels();
found.notes = models.map((_, index) => document.getElementById(`note-${index}`).textContent);
plane.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowUp" }));
found.moved = { ...point };
document.querySelectorAll("#starts button")[2].click();
found.started = pixels();
seed.value = "778"; seed.dispatchEvent(new Event("change"));
found.second = pixels();
found.seeds = models.map((_, index) => document.getElementById(`seed-${index}`).textContent);
const strip = document.querySelectorAll("#starts canvas");
const data = (one) => one.getContext("2d").getImageData(0, 0, one.width, one.height).data;
found.strip = [...strip].map((one) => [...data(one)]);
seed.value = "777"; seed.dispatchEvent(new Event("change"));
found.exact = models.map((model) => [...decode(model, [1, -2, 0.5, 3])]);
const result = document.createElement("pre");
result.id = "found";
result.textContent = JSON.stringify(found);
document.body.append(result);
</script>
"""


def browse(path, tmp_path):
    """Returns what the probe found in the page."""
    probe = tmp_path / "probe.html"
    probe.write_text(path.read_text().replace("</body>", PROBE + "</body>"))
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr"]
    command += ["--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND"]
    done = subprocess.run([*command, probe.as_uri()], capture_output=True, text=True, timeout=60)
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert all("multiple readback" in line.lower() for line in said), said  # the probe's own
    return json.loads(re.search(r'<pre id="found">(.*?)</pre>', done.stdout)[1])


def shown(config, params, z):
    """Returns the decoder's image as a canvas holds it: red, green, blue and 255, in bytes."""
    return as_canvas(inference.decode(config, params, jnp.asarray(z, jnp.float32)[None])[0])


def as_canvas(mean):
    mean = np.asarray(mean)
    if mean.shape[2] == 5:
        mean = mean.mean(axis=2, keepdims=True)
    coloured = np.broadcast_to(mean, (*mean.shape[:2], 3)) * 255
    return np.concatenate([coloured, np.full((*mean.shape[:2], 1), 255.0)], axis=2).ravel()


@pytest.mark.thorough
@pytest.mark.skipif(not BROWSER, reason="no chromium is installed")
@pytest.mark.parametrize(("image_shape", "activation", "layers"), SHAPES)
def test_the_pages_decoders_are_the_python_ones(
    tmp_path, write_models, image_shape, activation, layers
):
    written = write_models(image_shape, activation, layers)
    path = page(tmp_path)
    assert (">777</span>, mean of 5 channels<span" in path.read_text()) == (image_shape[2] == 5)
    found = browse(path, tmp_path)
    assert list(found["dragged"].values()) == pytest.approx(PLACE, abs=0.02)
    assert found["moved"]["y"] - found["dragged"]["y"] == pytest.approx(0.1)
    assert found["notes"] == [" (has no C: along z)", ""]
    x, y = found["dragged"].values()
    for index, name in enumerate(("vae", "mvae")):
        config, params = written[name]
        exact = inference.decode(config, params, jnp.asarray([[1, -2, 0.5, 3.0]]))
        np.testing.assert_allclose(found["exact"][index], exact.ravel(), atol=1e-5)
        axes = {"z": np.eye(4), "singular": np.eye(4)}
        if name == "mvae":
            axes["singular"] = np.linalg.svd(np.asarray(params["coupling"], np.float64))[0].T
        for kind, axis in axes.items():
            expected = shown(config, params, x * axis[0] + y * axis[1])
            np.testing.assert_allclose(found[kind][index], expected, atol=0.51)  # a byte
    assert np.ptp(found["z"][1]) > 100  # a picture, not a grey area
    # The strip's second is the data set's image 1, which stands second in index_test, too.
    assert found["seeds"] == ["778", "778"]
    for seed, name in ((777, "started"), (778, "second")):
        mu = np.random.default_rng(seed).normal(size=(3, 4)).astype(np.float32)[1]
        for index, model_name in enumerate(("vae", "mvae")):
            config, params = written[model_name]
            params = jax.tree.map(lambda leaf, seed=seed: leaf * (seed - 776), params)
            np.testing.assert_allclose(found[name][index], shown(config, params, mu), atol=0.51)
    inputs = np.random.default_rng(0).random((2, *image_shape))
    for picture, expected in zip(found["strip"], inputs, strict=True):
        np.testing.assert_allclose(picture, as_canvas(expected), atol=1.01)


def test_the_report_links_to_it_and_a_model_of_another_kind_has_none(tmp_path, write_models):
    write_models()
    foreign = write_run(tmp_path / "runs", "pca", 4, {"mse": draw(0.5, 0.1, (777,))})
    (foreign / "model").mkdir()
    np.savez(foreign / "model" / "seed_777.npz", components=np.zeros((4, 30)))
    text = page(tmp_path).read_text()
    assert "<strong>mvae</strong>" in text
    assert "<strong>pca</strong>" not in text
    assert 'href="explorer-digits-release.html"' in (tmp_path / "report/index.html").read_text()


@pytest.mark.parametrize(
    ("name", "damaged", "said"),
    [
        ("config.json", b"null", "config.json: image_shape is None; the decoder has 30 pixels"),
        ("config.json", b"[6, 6, 1]", "image_shape is [6, 6, 1]; the decoder has 30 pixels"),
        ("config.json", b"[-6, -5, 1]", "image_shape is [-6, -5, 1]; the decoder has 30 pixels"),
        ("activation", b"null", "config.json: activation is None; allowed: tanh, relu, silu, gelu"),
        ("config.json", b"[6]", "config.json: image_shape is [6]; the decoder has 30 pixels"),
        ("kernel", np.zeros(()), "params/pixels/Dense_0/kernel has shape (); allowed: two axes"),
    ],
)
def test_a_model_of_wrong_shapes_is_a_problem_of_the_report(
    tmp_path, write_models, capsys, name, damaged, said
):
    write_models()
    run = tmp_path / "runs/digits/release/vae-z4"
    if name == "kernel":
        path = run / "model/seed_777.npz"
        with np.load(path) as arrays:
            np.savez(path, **{**arrays, "params/pixels/Dense_0/kernel": damaged})
    else:
        config = json.loads((run / "config.json").read_text())
        field = "activation" if name == "activation" else "image_shape"
        (run / "config.json").write_text(json.dumps(config | {field: json.loads(damaged)}))
    assert not render([tmp_path / "runs"], tmp_path / "report")
    assert said in capsys.readouterr().err


def test_a_model_that_lacks_an_array_is_a_problem_of_the_report(tmp_path, write_models, capsys):
    write_models()
    path = tmp_path / "runs/digits/release/vae-z4/model/seed_777.npz"
    with np.load(path) as arrays:
        np.savez(path, **{k: v for k, v in arrays.items() if k != "params/pixels/Dense_0/bias"})
    assert not render([tmp_path / "runs"], tmp_path / "report")
    assert (
        "latent explorer: the run's files lack 'params/pixels/Dense_0/bias'"
        in capsys.readouterr().err
    )


def test_a_decoder_too_large_for_a_page_has_none(tmp_path, write_models, monkeypatch):
    write_models()
    monkeypatch.setattr(explorer, "MOST_NUMBERS", 16 * (4 + 30) - 1)
    assert render([tmp_path / "runs"], tmp_path / "report")
    assert not (tmp_path / "report" / "explorer-digits-release.html").exists()
