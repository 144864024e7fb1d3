"""From Python: fit, the run that it returns, two runs compared, and the docstrings' examples."""

import doctest
import gc
import inspect
import shutil
import signal
import subprocess
import sys
import threading

import jax
import numpy as np
import pytest
import scipy.stats
from sklearn.datasets import load_digits

import mvae_jax
from mvae_jax import fitting, trained
from mvae_jax.config import ConfigError
from mvae_jax.datasets import DataError
from mvae_jax.report import compare as comparing
from mvae_jax.runs.stop import Interrupted
from mvae_jax.store import files, metrics_file
from tests.conftest import ROOT

DIGITS = load_digits()
IMAGES, LABELS = (DIGITS.images[:300] * 15).astype(np.uint8), DIGITS.target[:300]
SMALL = {"latent_size": 4, "num_seeds": 2, "num_epochs": 2, "hidden_size": 8, "iwae_samples": 0}
SWEPT = {"beta": np.array([1, 4])}


def fit(model="vae", images=IMAGES, labels=LABELS, **fields):
    return mvae_jax.fit(model, images, labels, **(SMALL | fields))


@pytest.fixture(scope="module", autouse=True)
def no_cache_of_programs():
    """Which fit turns on for its process, as the command line does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", "")
        yield


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A VAE, and an MVAE with two values of beta."""
    root = tmp_path_factory.mktemp("runs")
    return fit("vae", folder=root / "vae"), fit("mvae", folder=root / "mvae", sweep=SWEPT)


@pytest.fixture
def vae(runs):
    return runs[0]


def model_files(run):
    return {path.name: path.stat().st_mtime_ns for path in (run.folder / "model").iterdir()}


def test_scores_are_those_of_the_folder(vae):
    frame = vae.scores
    entries = metrics_file.read(vae.folder / "metrics.json")["replicates"]
    assert vae.seeds == [777, 778] == [entry["seed"] for entry in entries]
    for entry in entries:
        stored = {row["metric"]: row["value"] for row in entry["values"]}
        of_seed = frame[frame.seed == entry["seed"]].set_index("metric").value
        assert of_seed.elbo == stored["elbo"]
        assert of_seed.probe_accuracy == stored["probe_accuracy"]
    assert vae.problems.empty
    assert vae.config.num_epochs == 2
    assert "2 seeds, ELBO -" in repr(vae)
    assert "<td>accuracy (linear probe) ↑</td>" in vae._repr_html_()


def test_a_run_encodes_as_its_embeddings_say_and_decodes(vae):
    arrays = np.load(vae.folder / "embeddings" / "seed_778.npz", allow_pickle=False)
    mu = vae.encode(IMAGES[vae.embeddings(778)["index_test"]], seed=778)
    np.testing.assert_allclose(mu, arrays["mu_test"], atol=1e-5)
    config, params = mvae_jax.load(vae.folder, 778)
    np.testing.assert_array_equal(
        vae.decode(mu, 778), mvae_jax.decode(config, params, jax.numpy.asarray(mu))
    )
    stored = np.load(vae.folder / "model" / "seed_777.npz", allow_pickle=False)
    kernel = vae.params()["mean"]["Dense_0"]["kernel"]
    np.testing.assert_array_equal(kernel, stored["params/mean/Dense_0/kernel"])
    with pytest.raises(FileNotFoundError, match="seed_777, seed_778"):
        vae.params(5)
    with pytest.raises(ValueError, match=r"allowed: uint8 \[N, 8, 8, 1\]"):
        vae.encode(IMAGES[:, :7])


def test_figures_are_those_of_the_report_and_show_in_a_notebook(vae):
    for name in ("training", "reconstructions", "reliability"):
        assert vae.plot(name)._repr_png_().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="figure: got 'losses'; allowed: metrics, "):
        vae.plot("losses")
    with pytest.raises(ValueError, match="'embeddings'; the run has not what it shows"):
        vae.plot("embeddings")  # of z=2


def test_the_command_line_goes_on_with_the_folder(vae, monkeypatch, capsys):
    before, folder = model_files(vae), vae.folder
    fields = SMALL | {"dataset": folder / "data.npz"}
    del fields["latent_size"]
    flags = [f"--config.{field}={value}" for field, value in fields.items()]
    command = [sys.executable, "-m", "mvae_jax.main", "--config=configs/digits.py:vae,4", *flags]
    done = subprocess.run(
        [*command, f"--workdir={folder}"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert "nothing to score" in done.stderr
    assert model_files(vae) == before


def test_the_same_call_does_nothing_and_one_for_more_adds_it(vae, tmp_path):
    before = model_files(vae)
    assert fit(folder=vae.folder) == vae
    assert model_files(vae) == before
    folder = shutil.copytree(vae.folder, tmp_path / "moved")
    more = fit(folder=folder, num_seeds=3)
    assert more.seeds == [777, 778, 779]
    assert {name: model_files(more)[name] for name in before} == before
    with pytest.raises(ValueError, match="lacks seed 779; train and score the same seeds of both"):
        mvae_jax.compare(vae, more)


MISTAKES = [
    ({"latnt_size": 3}, ConfigError, "latnt_size: no such field; did you mean latent_size"),
    ({"sweep": {"bta": [1.0]}}, ConfigError, "sweep.bta: no such field"),
    ({"sweep": {"beta": 1.0}}, ConfigError, "sweep.beta: got 1.0; allowed: values"),
    ({"learning_rate": "fast"}, ConfigError, "learning_rate: got 'fast'; allowed: a finite"),
    ({"model": "vea"}, ConfigError, "config.model: got 'vea'; allowed: vae, mvae"),
    ({"protocol": "text"}, ConfigError, "protocol: got 'text'; allowed: release, paper"),
    ({"dataset": "digits"}, ConfigError, "config.dataset: got a field; pass the data set as"),
    ({"images": IMAGES / 255}, DataError, r"images: got float64 \[300, 8, 8\]; allowed: uint8"),
    ({"images": IMAGES[0]}, DataError, r"images: got uint8 \[8, 8\]; allowed: uint8 \[N, H"),
    ({"labels": LABELS[:9]}, DataError, r"labels: got int64 \[9\]; allowed: integers \[300\]"),
    ({"splits": {"dev": [0]}}, DataError, "splits: got 'dev'; allowed: train, valid, test"),
    ({"splits": {"test": [0]}}, DataError, "index_train: got nothing; allowed: index_train and"),
    ({"images": "digit", "labels": None}, DataError, "dataset: got 'digit'; allowed: digits, "),
    ({"images": "digits"}, DataError, "labels, splits: got some beside a data set's name"),
    ({"batch_size": 301}, ConfigError, "batch_size: got 301; allowed: 1 to the 240"),
]


@pytest.mark.parametrize(("given", "error", "said"), MISTAKES)
def test_a_mistake_is_one_line_and_leaves_no_file(given, error, said, tmp_path):
    with pytest.raises(error, match=said) as raised:
        fit(folder=tmp_path / "run", **given)
    assert "\n" not in str(raised.value)
    assert not any(tmp_path.rglob("*.*"))


def test_a_folder_of_another_run_is_refused_and_kept(runs, tmp_path):
    folder = runs[1].folder
    before = {path: files.sha256(path) for path in folder.rglob("*.npz")}
    with pytest.raises(ConfigError, match="differs from the stored run's in hidden_size"):
        fit("mvae", folder=folder, sweep=SWEPT, hidden_size=9)
    with pytest.raises(ConfigError, match="holds other images, labels or splits"):
        fit("mvae", 255 - IMAGES, folder=folder, sweep=SWEPT)
    assert {path: files.sha256(path) for path in folder.rglob("*.npz")} == before
    files.write_npz(tmp_path / "data.npz", {"images": IMAGES[:50]})  # of the user's own
    with pytest.raises(ConfigError, match="holds other images"):
        fit(folder=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["data.npz"]


def test_an_own_split_in_a_thread_and_a_temporary_folder_that_goes_with_its_run():
    splits = {"train": range(200), "test": np.arange(200, 260)}
    found = []
    thread = threading.Thread(
        target=lambda: found.append(fit(splits=splits, num_seeds=1, num_epochs=1))
    )
    thread.start()
    thread.join()
    folder = found[0].folder
    arrays = np.load(folder / "embeddings" / "seed_777.npz", allow_pickle=False)
    assert [*arrays["index_test"]] == [*range(200, 260)]
    del found[0]
    gc.collect()
    assert not folder.exists()


def test_values_that_were_swept_are_chosen_by_name(runs):
    swept = runs[1]
    assert set(swept.scores.beta) == {1.0, 4.0}
    at_4 = swept.at(beta=4)
    assert set(at_4.scores.beta) == {4.0}
    assert at_4.config.beta == 4.0
    _, params = mvae_jax.load(swept.folder, 778, beta=4)
    stored = np.load(swept.folder / "model" / "seed_778__beta=4.0.npz", allow_pickle=False)
    np.testing.assert_array_equal(params["coupling"], stored["params/coupling"])
    np.testing.assert_array_equal(at_4.params(778)["coupling"], stored["params/coupling"])
    with pytest.raises(ValueError, match=r"swept: got beta=3.0; allowed: beta=1.0; beta=4.0"):
        swept.at(beta=3)
    with pytest.raises(ConfigError, match=r"sweep.bta: no such field; did you mean sweep.beta"):
        mvae_jax.load(swept.folder, 778, bta=4)
    with pytest.raises(ValueError, match=r"run: got beta=1.0; beta=4.0; choose one"):
        swept.plot()


def by_hand(run, metric, seeds):
    frame = run.scores
    frame = frame[(frame.metric == metric) & frame.seed.isin(seeds)]
    return frame.sort_values("seed").value.to_numpy()


def test_two_runs_are_compared_as_scipy_does(runs):
    vae, mvae = runs[0], runs[1].at(beta=1)
    table = mvae_jax.compare(vae, mvae)
    assert [*table.index[:4]] == ["elbo", "log_likelihood", "kl", "mse"]
    assert len(table) == 10
    assert table.attrs == {"a": "vae z=4", "b": "mvae z=4"}
    for metric, row in table.iterrows():
        a, b = (by_hand(run, metric, vae.seeds) for run in (vae, mvae))
        test = scipy.stats.ttest_rel(b, a)
        interval = test.confidence_interval()
        expected = (a.mean(), b.mean(), (b - a).mean(), interval.low, interval.high, test.pvalue)
        assert tuple(row.iloc[:6]) == pytest.approx(expected, rel=1e-6), metric
        assert row.pairs == len(vae.seeds)
    p = sorted(table.p)  # Holm's, as he writes it
    steps = [min(1, (len(p) - j) * p[j]) for j in range(len(p))]
    assert sorted(table.p_holm) == pytest.approx(np.maximum.accumulate(steps))
    assert {*table.index} < {*mvae_jax.compare(vae.folder, mvae, every=True).index}
    back = mvae_jax.compare(mvae, str(vae.folder))
    assert [*back.difference] == pytest.approx([*-table.difference])


def test_runs_that_differ_in_more_than_the_model_are_compared_only_if_that_is_said(runs):
    vae, swept = runs
    both = mvae_jax.compare(swept.at(beta=1), swept.at(beta=4))
    assert both.attrs == {"a": "mvae (a) z=4", "b": "mvae (b) z=4"}
    assert both.loc["elbo", "difference"] != 0
    with pytest.raises(ValueError, match=r"beta is 1.0 and 4.0; .* name the field in `varied`"):
        mvae_jax.compare(vae, swept.at(beta=4))
    assert len(mvae_jax.compare(vae, swept.at(beta=4), varied=["beta"])) == 10
    with pytest.raises(ValueError, match=r"run: got beta=1.0; beta=4.0; choose one"):
        mvae_jax.compare(vae, swept)
    with pytest.raises(ValueError, match=r"nowhere.config\.json: does not exist"):
        mvae_jax.compare(vae, "nowhere")


def test_interrupts_from_python_stop_after_an_epoch_and_never_end_the_process(
    tmp_path, monkeypatch
):
    """In a notebook one interrupt stops the training, a second raises where the first waits."""
    from mvae_jax.runs import stop

    with stop.on_signal(None) as asked:
        signal.raise_signal(signal.SIGINT)
        assert asked.asked
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)

    def stopped(*_args):
        raise Interrupted("stopped after epoch 1; the same command resumes there")

    monkeypatch.setattr(fitting.runs, "run", stopped)
    with pytest.raises(KeyboardInterrupt, match="stopped after epoch 1"):
        fit(folder=tmp_path / "run")


def test_a_run_is_opened_and_compared_without_jax(runs):
    swept = runs[1].folder
    code = (
        "import sys\n"
        "for name in ('jax', 'jaxlib', 'flax', 'optax', 'orbax'): sys.modules[name] = None\n"
        f"import mvae_jax\nrun = mvae_jax.load_run({str(swept)!r})\n"
        "print(len(mvae_jax.compare(run.at(beta=1), run.at(beta=4))), run.seeds, repr(run))\n"
        "run.at(beta=1).plot()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
    assert done.stdout.startswith(b"10 [777, ")


EXAMPLES = [
    (fitting, "fit"),
    *((trained, name) for name in ("Run", "load_run")),
    (comparing, "compare"),
]


@pytest.mark.parametrize(("module", "name"), EXAMPLES)
def test_the_examples_of_the_docstrings_run(module, name, runs):
    vae, swept = runs
    given = {
        "mvae_jax": mvae_jax,
        "run": swept.at(beta=1),
        "vae": vae,
        "folder": vae.folder,
        "images": IMAGES,
    }
    found = doctest.DocTestFinder(recurse=True).find(
        inspect.unwrap(getattr(module, name)), name, globs=given
    )
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    for test in found:
        runner.run(test)
    assert runner.tries
    assert not runner.failures
