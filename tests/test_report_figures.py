"""Every figure is drawn from a run's files, shows the numbers it should, and needs those files."""

import itertools
import json

import matplotlib.image
import numpy as np
import pytest
from matplotlib.colors import to_hex

from mvae_jax.report import figures
from mvae_jax.report.cells import Setting
from mvae_jax.report.figures import latents, pictures, scores, style
from tests.fake_runs import SEEDS, draw, read_report, table_of, write_run


def write_full(root, model, z, dataset="mnist_basic", gain=0.0, **config):
    """A run with every file that a figure reads."""
    rng = np.random.default_rng([z, len(model)])
    accuracy = {seed: 0.5 + gain + 0.001 * rng.normal() for seed in SEEDS}
    values = {"probe_accuracy": accuracy, "elbo": draw(-100, 1)}
    run = write_run(root, model, z, values, dataset=dataset, **config)
    rng = np.random.default_rng(0)
    for seed in SEEDS:
        coupling = {"params/coupling": np.eye(z) * 2} if model == "mvae" else {}
        files = {
            "model": {"params/a/kernel": np.zeros((3, z)), **coupling},
            "pictures": {
                "input": rng.uniform(size=(48, 6, 5, 1)),
                "reconstruction_sampled": rng.uniform(size=(48, 6, 5, 1)),
                "sweep": rng.uniform(size=(10, 10, 6, 5, 1)),
                "sweep_values": np.linspace(-4, 4, 10),
                **({"sweep_leading": rng.uniform(size=(10, 10, 6, 5, 1))} if coupling else {}),
            },
            "embeddings": {
                "mu_test": rng.normal(size=(50, z)),
                "label_test": np.arange(50) % 10,
            },
        }
        for folder, arrays in files.items():
            (run / folder).mkdir(exist_ok=True)
            np.savez(run / folder / f"seed_{seed}.npz", **arrays)
        lines = [
            {
                **{"replicate": f"seed_{seed}", "seed": seed, "split": "train", "epoch": e},
                "elbo": -100 / e + seed - 777,
            }
            for e in range(1, 31)
        ]
        (run / "logs").mkdir(exist_ok=True)
        (run / "logs" / f"seed_{seed}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    metrics = json.loads((run / "metrics.json").read_text())
    for entry in metrics["replicates"]:
        bins = {
            **{"seed": entry["seed"], "split": "test", "n": 40, "settings": []},
            "examples": [0, 30, 10],
            "confidence": [None, 0.5, 0.9],
            "accuracy": [None, 0.4, 0.8],
        }
        entry["curves"] = {"reliability": bins}
    (run / "metrics.json").write_text(json.dumps(metrics))
    return run


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    for z in (2, 16):
        write_full(root, "vae", z)
        write_full(root, "mvae", z, gain=0.05 if z == 2 else 0.0)
    return read_report(root)


def test_every_figure_is_drawn(found, tmp_path):
    drawn, problems = figures.draw(found, tmp_path)
    assert problems == []
    names = [figure.path.stem.rpartition("-")[2] for figure in drawn]
    assert names == list(figures.FIGURES)
    for figure in drawn:
        pixels = matplotlib.image.imread(figure.path)
        assert pixels.shape[1] <= style.WIDTH * style.RC["savefig.dpi"]
        assert pixels[..., :3].std() > 0.01  # something is on it


def test_without_the_files_only_the_scores_are_drawn(tmp_path):
    for model in ("vae", "mvae"):
        for z in (2, 4):
            write_run(tmp_path, model, z, {"nmi": draw(0.5, 0.01)})
    found = read_report(tmp_path)
    drawn, problems = figures.draw(found, tmp_path / "out")
    assert problems == []
    assert [d.path.stem.rpartition("-")[2] for d in drawn] == ["metrics", "differences"]


def test_one_epoch_is_no_curve(tmp_path):
    run = write_full(tmp_path, "mvae", 2)
    for path in (run / "logs").iterdir():
        path.write_text(path.read_text().splitlines()[0])
    found = read_report(tmp_path)
    assert scores.training_curves(table_of(found)) is None


def test_a_damaged_file_costs_its_figure_and_nothing_else(tmp_path):
    run = write_full(tmp_path, "mvae", 2)
    (run / "embeddings/seed_777.npz").write_bytes(b"PK\x03\x04 torn")
    found = read_report(tmp_path)
    drawn, problems = figures.draw(found, tmp_path / "out")
    names = [d.path.stem.rpartition("-")[2] for d in drawn]
    assert names == ["training", "reliability", "coupling", "reconstructions", "sweeps"]
    assert len(problems) == 2
    for problem in problems:
        assert f"{run / 'embeddings/seed_777.npz'}: not a readable .npz" in problem.reason


def test_the_points_are_the_means_and_the_crosses_the_release(found):
    figure = scores.metrics_against_latent_size(table_of(found))
    panel = next(ax for ax in figure.axes if ax.get_title() == "accuracy ↑")
    by_colour = {}
    for line in panel.lines:
        if line.get_marker() in "osx" and len(line.get_ydata()) == 2:
            by_colour[to_hex(line.get_color()).upper(), line.get_marker()] = line.get_ydata()
    cells = {cell.latent_size: cell for cell in found.scores.cells if cell.model == "mvae"}
    of = [found.scores.of(cells[z], "probe_accuracy") for z in (2, 16)]
    means = [np.mean(list(values.values())) for values in of]
    colour = style.MODEL_COLOURS["mvae"]
    assert by_colour[colour, "s"] == pytest.approx(means)
    assert by_colour[colour, "x"] == pytest.approx([0.561326, 0.909523])


def test_only_significant_differences_are_filled(found):
    figure = scores.paired_differences(table_of(found))
    panel = next(ax for ax in figure.axes if ax.get_title() == "accuracy ↑")
    filled = [
        line.get_markerfacecolor() != "white" for line in panel.lines if line.get_marker() == "s"
    ]
    assert filled == [True, False]  # z=2 and z=16


def test_reliability_pools_the_seeds(found):
    figure = scores.reliability(table_of(found))
    line = figure.axes[0].lines[1]  # behind the diagonal
    assert line.get_xdata() == pytest.approx([0.5, 0.9])  # the empty bin is left out
    assert line.get_ydata() == pytest.approx([0.4, 0.8])


def test_curves_are_those_of_the_cells_seeds_that_did_not_fail(tmp_path):
    values = {"nmi": dict.fromkeys((1, 2), 0.5)}
    run = write_run(tmp_path, "vae", 4, values, failed={3: "nan"})
    good = {"replicate": "seed_1", "split": "train", "epoch": 2, "elbo": -3.0}
    lines = [good, good | {"epoch": 4, "elbo": None}, 3, "text", None]
    text = "\n".join(map(json.dumps, lines)) + '\n{"replicate": "seed_1", "spl'
    (scores_of,) = read_report(tmp_path).scores.cells.values()
    assert scores.read_curves(scores_of).empty
    (run / "logs").mkdir()
    for name in ("seed_1", "seed_1__learning_rate=0.1", "seed_3"):
        (run / "logs" / f"{name}.jsonl").write_text(text)
    assert scores.read_curves(scores_of).to_dict() == {1: {2: -3.0}}


def test_tiles_lie_in_reading_order():
    images = np.arange(6.0).reshape(6, 1, 1, 1) * np.ones((6, 2, 3, 1))
    picture = pictures._tile(images, 2)[..., 0]
    assert picture.shape == (2 * 3 - 1, 3 * 4 - 1)
    assert [picture[0, 0], picture[0, 4], picture[0, 8], picture[3, 0]] == [0, 1, 2, 3]


def test_the_papers_latent_size_is_drawn_where_it_was_run(tmp_path):
    for z in (2, 32, 64):
        for model in ("vae", "mvae"):
            write_full(tmp_path, model, z)
    z, of_models = pictures._pictures(table_of(read_report(tmp_path)))
    assert (z, set(of_models)) == (32, {"vae", "mvae"})


def test_one_latent_dimension_is_drawn(tmp_path):
    run = write_full(tmp_path, "mvae", 1, num_epochs=30)
    for path in (run / "pictures").glob("*.npz"):
        arrays = dict(np.load(path))
        np.savez(path, **arrays | {"sweep": arrays["sweep"][:, :1]})
    table = table_of(read_report(tmp_path))
    assert pictures.sweeps(table) is not None
    assert latents.covariance(table) is not None
    assert latents.coupling(table) is not None


def test_of_many_coordinates_the_covariance_shows_those_that_vary_most(tmp_path):
    run = write_full(tmp_path, "vae", 40)
    variances = np.full(40, 1e-6)
    variances[5::8] = [1, 2, 3, 4, 5]
    noise = np.random.default_rng(0).normal(size=(500, 40))
    mu = ((noise - noise.mean(0)) / noise.std(0) * np.sqrt(variances)).astype(np.float32)
    for path in (run / "embeddings").glob("*.npz"):
        np.savez(path, **dict(np.load(path)) | {"mu_test": mu})
    figure = latents.covariance(table_of(read_report(tmp_path)))
    assert figure.axes[0].get_title() == "vae, 32 of z=40"
    shown = np.diag(figure.axes[0].images[0].get_array())
    assert len(shown) == 32
    np.testing.assert_allclose(shown[shown > 0.5], [1, 2, 3, 4, 5], rtol=0.01)


# What a matplotlibrc may say; the first three are those that made a report useless.
HOSTILE = {
    **{"savefig.format": "pdf", "image.origin": "lower", "text.usetex": True},
    **{"font.size": 40, "font.family": "cursive", "savefig.dpi": 30, "figure.dpi": 30},
    **{"savefig.bbox": "tight", "savefig.transparent": True, "image.cmap": "jet"},
    **{"axes.grid": True, "axes.facecolor": "black", "lines.linestyle": "--"},
    **{"path.sketch": (2, 100, 2), "image.interpolation": "bicubic", "xtick.major.size": 30},
    **{"axes.unicode_minus": False, "figure.figsize": (1, 1), "axes.formatter.limits": (0, 0)},
}


def test_the_users_settings_of_matplotlib_change_no_byte(found, tmp_path):
    names = ("covariance", "reconstructions")
    images = np.random.default_rng(0).integers(0, 256, (3, 5, 4, 1), dtype=np.uint8)
    samples = {"names": np.array(["digits"]), "images_digits": images, "source_digits": ""}
    np.savez(tmp_path / "samples.npz", **samples)

    def bytes_of(folder):
        drawn, problems = figures.draw(found, folder, names)
        assert not problems
        drawn.append(figures.draw_data_sets(tmp_path / "samples.npz", folder))
        return [figure.path.read_bytes() for figure in drawn]

    with matplotlib.rc_context(HOSTILE):
        hostile = bytes_of(tmp_path / "hostile")
        assert matplotlib.rcParams["savefig.format"] == "pdf"  # outside the figures the user's
    assert hostile == bytes_of(tmp_path / "usual")
    assert all(picture.startswith(b"\x89PNG") for picture in hostile)


def write_images(root, *shape):
    """Returns runs of both models whose pictures have this shape."""
    rng = np.random.default_rng(0)
    for model in ("vae", "mvae"):
        for path in (write_full(root, model, 2) / "pictures").glob("*.npz"):
            arrays = dict(np.load(path))
            images = {name: a for name, a in arrays.items() if a.ndim > 3}
            new = {name: rng.uniform(size=(*a.shape[:-3], *shape)) for name, a in images.items()}
            np.savez(path, **arrays | new)
    return read_report(root)


@pytest.mark.parametrize("channels", [2, 5])
def test_images_of_any_number_of_channels_are_drawn(tmp_path, channels):
    found = write_images(tmp_path, 4, 3, channels)
    drawn, problems = figures.draw(found, tmp_path / "out", ("reconstructions", "sweeps"))
    assert (len(drawn), problems) == (2, [])
    for function in (pictures.reconstructions, pictures.sweeps):
        axes = function(table_of(found)).axes[0]
        assert axes.get_title().endswith(f"\nmean of {channels} channels")
    image = pictures.reconstructions(table_of(found)).axes[0].images[0].get_array()[:4, :3]
    expected = pictures._pictures(table_of(found))[1]["mvae"]["input"][0].mean(axis=-1)
    np.testing.assert_allclose(image, expected)


@pytest.mark.parametrize("shape", [(700, 1, 1), (1, 3000, 1)])
def test_no_picture_is_larger_than_the_limit(tmp_path, shape):
    found = write_images(tmp_path, *shape)
    drawn, problems = figures.draw(found, tmp_path / "out", ("reconstructions", "sweeps"))
    assert (len(drawn), problems) == (2, [])
    for figure in drawn:
        assert max(matplotlib.image.imread(figure.path).shape) <= style.MOST_PIXELS
    title = pictures.sweeps(table_of(found)).axes[0].get_title()
    assert title.endswith(f"\none pixel in {-(-10 * max(shape) // style.MOST_PIXELS)} each way")


def test_neither_panels_nor_names_make_a_picture_larger(tmp_path):
    with style.context():
        figure, _ = style.panels(1, 1, 90.0)
        style.save(figure, tmp_path / "high.png")
    assert max(matplotlib.image.imread(tmp_path / "high.png").shape) == style.MOST_PIXELS
    name, images = "W" * 1000, np.zeros((2, 9000, 9, 7), np.uint8)
    samples = {"names": np.array([name]), f"images_{name}": images, f"source_{name}": name}
    np.savez(tmp_path / "samples.npz", **samples)
    drawn = figures.draw_data_sets(tmp_path / "samples.npz", tmp_path)
    assert max(matplotlib.image.imread(drawn.path).shape) <= style.MOST_PIXELS
    assert style.label("\x1b[2J\n") == "\\x1b[2J "


def test_of_many_models_and_sizes_a_figure_shows_some(tmp_path):
    seed = {"nmi": {777: 0.5}}
    for z in range(1, 61):
        write_run(tmp_path, "vae", z, seed)
    for number in range(20):
        write_run(tmp_path, f"x{number:02}", 32, seed)
    (of_table,) = read_report(tmp_path).scores.tables().values()
    cells, note = figures._shown(of_table)
    sizes = {cell.latent_size for cell in cells}
    assert {1, 2, 32, 60} < sizes
    assert len(sizes) <= figures.MOST_SIZES + len(figures.OF_FIGURES)
    assert note == f"12 of 21 models; {len(sizes)} of 60 latent sizes"


def test_of_a_large_coupling_the_heat_map_shows_a_part(tmp_path):
    run = write_full(tmp_path, "mvae", 2)
    for path in (run / "model").glob("*.npz"):
        np.savez(path, **{"params/coupling": np.ones((5000, 2))})
    figure = latents.coupling(table_of(read_report(tmp_path)))
    assert figure.axes[0].get_title() == "C, z=2, one entry in 5"
    assert figure.axes[0].images[0].get_array().shape == (1000, 1)


def test_unlike_settings_have_unlike_file_names():
    parts = ("", "a", "b-c", "release", "paper", "a-b", "..", "x" * 300, "x" * 301, "\ud800")
    settings = [Setting(*of) for of in itertools.product(parts, repeat=4)]
    names = {figures.name_of(setting) for setting in settings}
    assert len(names) == len(settings)
    assert all(len(name.encode()) < 200 and not name.startswith(".") for name in names)
    usual = Setting("mnist_basic", "regenerated", "paper", "bernoulli-coupled")
    assert figures.name_of(usual) == "mnist_basic-regenerated-paper-bernoulli-coupled"
