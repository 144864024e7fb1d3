"""Arrays of any library, scored from Python, beside runs and compared with them."""

import doctest
import json
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

import mvae_jax
from mvae_jax import evaluate as package
from mvae_jax import foreign
from mvae_jax.store import files
from tests.conftest import ROOT

pytestmark = pytest.mark.usefixtures("one_thread")
N, TRAIN, D = 240, 160, 3


def made(seed=0, gain=1.0):
    rng = np.random.default_rng(seed)
    labels = np.arange(N) % 4
    z = gain * np.eye(4, D)[labels] + rng.normal(size=(N, D))
    return z[:TRAIN], labels[:TRAIN], z[TRAIN:], labels[TRAIN:]


def value(run, metric):
    frame = run.scores
    return frame[frame.metric == metric].value.item()


def test_arrays_of_every_library_give_the_same_scores():
    """The probe's accuracy is scikit-learn's own."""
    train, of_train, test, of_test = made()
    probe = LogisticRegression(max_iter=500).fit(train, of_train)
    names = np.array(["ant", "bee", "cat", "dog"])
    kinds = [
        (np.asarray, np.asarray),
        (jnp.asarray, jnp.asarray),
        (pd.DataFrame, pd.Series),
        (np.ndarray.tolist, lambda labels: names[labels].tolist()),
    ]
    for matrix, vector in kinds:
        found = mvae_jax.evaluate(
            matrix(train), vector(of_train), matrix(test), vector(of_test), name="x"
        )
        assert value(found, "probe_accuracy") == pytest.approx(probe.score(test, of_test))
        assert found.seeds == [0]
        assert found.config.model == "x"
        assert found.problems.empty
    with pytest.raises(FileNotFoundError, match="replicates with a model: none"):
        found.params()


def test_without_labels_and_with_terms_the_bounds_are_scored():
    train, _, test, _ = made()
    kl, likelihood = np.full(N - TRAIN, 3.0), -np.arange(N - TRAIN, dtype=float)
    terms = {"kl": kl, "log_likelihood": likelihood, "iwae": likelihood - 2, "iwae_k": 10}
    found = mvae_jax.evaluate(train, None, test, None, terms=terms)
    assert value(found, "elbo") == pytest.approx(likelihood.mean() - 3)
    assert value(found, "iwae") == pytest.approx(likelihood.mean() - 2)
    assert "probe_accuracy" not in set(found.scores.metric)


def test_seeds_land_in_one_folder_beside_other_runs_and_are_compared(tmp_path):
    for name, gain in (("mine", 3.0), ("theirs", 1.0)):
        for seed in (0, 1, 2):
            found = mvae_jax.evaluate(
                *made(seed, gain), name=name, seed=seed, folder=tmp_path / name, dataset="blobs"
            )
        assert found.seeds == [0, 1, 2]
    table = mvae_jax.compare(tmp_path / "theirs", tmp_path / "mine")
    assert table.loc["probe_accuracy", "pairs"] == 3
    assert table.loc["probe_accuracy", "difference"] > 0.2
    values, problems = mvae_jax.scores(tmp_path)
    assert set(values.model) == {"mine", "theirs"}
    assert set(values.dataset) == {"blobs"}
    assert problems.empty
    command = [sys.executable, "-m", "mvae_jax.evaluate", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stderr == "nothing to score: no run has changed since it was scored\n"


def test_what_is_there_is_kept(tmp_path, finished):
    first = mvae_jax.evaluate(*made(), folder=tmp_path, name="mine")
    before = {path: files.sha256(path) for path in tmp_path.rglob("*.*")}
    assert mvae_jax.evaluate(*made(), folder=tmp_path, name="mine") == first
    with pytest.raises(ValueError, match=r"seed: got 0, of which .* holds other embeddings"):
        mvae_jax.evaluate(*made(1), folder=tmp_path, name="mine")
    with pytest.raises(ValueError, match=r"folder: .* holds another run \(mine z=3 on data\)"):
        mvae_jax.evaluate(*made(), folder=tmp_path, name="other")
    with pytest.raises(ValueError, match=r"holds another run \(mvae z=3 on digits\)"):
        mvae_jax.evaluate(*made(), folder=finished, name="mvae", dataset="digits")
    assert {path: files.sha256(path) for path in tmp_path.rglob("*.*")} == before


TRAIN_Z, OF_TRAIN, TEST_Z, OF_TEST = made()
HOLED = TEST_Z.copy()
HOLED[7, 1] = np.nan
MISTAKES = [
    ({0: TRAIN_Z[0]}, {}, r"train_embeddings: got float64 \[3\]; allowed: numbers \[N, d\]"),
    ({2: TEST_Z[:, :2]}, {}, r"test_embeddings: got 2 columns; allowed: 3, as train"),
    ({2: HOLED}, {}, r"test_embeddings: got a value in row 7 that is not finite"),
    ({0: [["a", "b", "c"]]}, {}, r"train_embeddings: got <U1 \[1, 3\]; allowed: numbers"),
    ({1: OF_TRAIN[:5]}, {}, r"train_labels: got int64 \[5\]; allowed: integers or names \[160\]"),
    ({3: None}, {}, r"test_labels: got None; allowed: labels of both splits, or of neither"),
    ({3: OF_TEST / 2}, {}, r"test_labels: got float64 \[80\]; allowed: integers or names"),
    ({}, {"index_test": [1, 2]}, r"index_test: got int64 \[2\]; allowed: integers \[80\]"),
    ({}, {"terms": {"elbo": OF_TEST}}, r"terms: got 'elbo'; allowed: log_likelihood, kl"),
    ({}, {"terms": {"kl": 3.0}}, r"terms\['kl'\]: got float64 \[\]; allowed: numbers \[80\]"),
]


@pytest.mark.parametrize(("changed", "given", "said"), MISTAKES)
def test_a_mistake_is_one_line_and_writes_nothing(changed, given, said, tmp_path):
    arrays = {0: TRAIN_Z, 1: OF_TRAIN, 2: TEST_Z, 3: OF_TEST} | changed
    with pytest.raises(ValueError, match=said):
        mvae_jax.evaluate(*arrays.values(), folder=tmp_path / "run", **given)
    assert not any(tmp_path.iterdir())


def test_no_jax_is_imported_and_the_package_is_still_one():
    code = (
        "import sys\n"
        "for name in ('jax', 'jaxlib', 'flax', 'optax', 'orbax'): sys.modules[name] = None\n"
        "import numpy as np, mvae_jax\nfrom mvae_jax.evaluate import Metric\n"
        "z, labels = np.random.default_rng(0).normal(size=(60, 2)), np.arange(60) % 3\n"
        "run = mvae_jax.evaluate(z[:40], labels[:40], z[40:], labels[40:], name='noise')\n"
        "print(run.scores.shape, mvae_jax.evaluate.score, run)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
    assert b"<Run noise z=2 on data, release protocol: 1 seed, accuracy 0." in done.stdout
    assert package.score is mvae_jax.evaluate.score


def test_the_example_of_the_docstring_runs():
    (test,) = doctest.DocTestFinder(recurse=False).find(
        foreign.evaluate, "evaluate", globs={"mvae_jax": mvae_jax}
    )
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    assert runner.run(test).attempted == 6
    assert not runner.failures


def test_a_vae_of_pytorch_is_scored_and_compared(finished, tmp_path):
    """As a user of PyTorch would, on the split of a run that mvae_jax trained."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install '.[bench]'")
    split = np.load(finished / "embeddings" / "seed_777.npz", allow_pickle=False)
    from sklearn.datasets import load_digits

    digits = load_digits()
    x = torch.tensor(digits.images.reshape(-1, 64) / 16, dtype=torch.float32)
    train, test = x[split["index_train"]], x[split["index_test"]]

    class VAE(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.Tanh())
            self.mean, self.log_variance = torch.nn.Linear(32, 3), torch.nn.Linear(32, 3)
            self.decoder = torch.nn.Sequential(
                torch.nn.Linear(3, 32), torch.nn.Tanh(), torch.nn.Linear(32, 64)
            )

        def terms(self, x):
            hidden = self.encoder(x)
            mean, log_variance = self.mean(hidden), self.log_variance(hidden)
            z = mean + torch.exp(log_variance / 2) * torch.randn_like(mean)
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                self.decoder(z), x, reduction="none"
            )
            kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(1)
            return mean, {"log_likelihood": -loss.sum(1), "kl": kl}

    for seed in (777, 778):
        torch.manual_seed(seed)
        model = VAE()
        optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
        for _ in range(30):
            _, terms = model.terms(train)
            loss = (terms["kl"] - terms["log_likelihood"]).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        (of_train, _), (of_test, terms) = model.terms(train), model.terms(test)
        found = mvae_jax.evaluate(
            of_train,
            digits.target[split["index_train"]],
            of_test,
            torch.tensor(digits.target[split["index_test"]]),
            name="torch",
            seed=seed,
            folder=tmp_path / "torch",
            dataset="digits",
            index_test=split["index_test"],
            terms=terms,
        )
    expected = (terms["log_likelihood"] - terms["kl"]).mean().item()
    assert found.scores.query("metric == 'elbo' and seed == 778").value.item() == pytest.approx(
        expected, rel=1e-5
    )
    assert json.loads((found.folder / "config.json").read_text())["model"] == "torch"
    folder = tmp_path / "mvae"
    files.copy(finished / "config.json", folder / "config.json")
    for seed in (777, 778):
        name = f"embeddings/seed_{seed}.npz"
        files.copy(finished / name, folder / name)
    mvae_jax.evaluate.score([folder], jobs=1)
    table = mvae_jax.compare(found, folder)
    assert table.loc["elbo", "pairs"] == 2
    assert table.attrs == {"a": "torch z=3", "b": "mvae z=3"}
