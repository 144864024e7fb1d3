"""Which runs are evidence."""

import numpy as np

from mvae_jax.paper import cells, reference
from mvae_jax.paper.claims import CLAIMS
from mvae_jax.paper.evidence import from_runs, ours, settings
from mvae_jax.paper.judge import judge
from mvae_jax.paper.rules import SUPPORTED
from tests.fake_runs import SEEDS, read_report, write_run


def test_sources_of_images_are_judged_apart(tmp_path):
    for source, gain in (("regenerated", 0.1), ("icml2007", -0.1)):
        for model in ("vae", "mvae"):
            nmi = dict.fromkeys(SEEDS, 0.5 + gain * (model == "mvae"))
            folder = f"{source}-{model}"
            config = {"dataset": "mnist_rotated", "source": source, "folder": folder}
            write_run(tmp_path, model, 4, {"nmi": nmi}, **config)
    for of_source in ours(read_report(tmp_path).scores):
        pair = of_source.pairs["nmi", ("mnist_rotated", 4)]
        assert (pair.mvae[777] > pair.vae[777]) == ("regenerated" in of_source.title)


def test_runs_of_fewer_epochs_than_the_papers_are_no_evidence(tmp_path):
    for dataset, epochs in (("cifar10", 199), ("cifar100", 200), ("fashion_mnist", None)):
        for model in ("vae", "mvae"):
            nmi = dict.fromkeys(SEEDS, 0.5)
            write_run(tmp_path, model, 4, {"nmi": nmi}, dataset=dataset, num_epochs=epochs)
    found = read_report(tmp_path).scores
    pairs = from_runs(found, "release").pairs
    assert {place for metric, place in pairs if metric == "nmi"} == {
        ("cifar100", 4),
        ("fashion_mnist", 4),  # which does not say
    }
    assert {setting.dataset for setting in settings(found)} == {"cifar100", "fashion_mnist"}


def test_our_runs_are_judged_on_the_papers_cells(tmp_path):
    """Released figures as if they were ours, with seeds around them, and one cell made worse."""
    release = reference.release()
    rng = np.random.default_rng(0)
    for dataset, z in cells.CELLS:
        noise = rng.normal(0, 1e-4, len(SEEDS))
        for model in ("vae", "mvae"):
            mse = float(release[reference.Key("mse", dataset, z, "vae")])
            mse *= 0.9 if model == "mvae" else 1
            values = {"mse": dict(zip(SEEDS, mse * (1 + noise), strict=True))}
            write_run(tmp_path, model, z, values, dataset=dataset)
    found = from_runs(read_report(tmp_path).scores, "release")
    verdict = judge(CLAIMS[0], found)
    assert (verdict.verdict, verdict.seeds) == (SUPPORTED, 5)
    assert from_runs(read_report(tmp_path).scores, "paper").pairs == {}
