"""What the report says first, against scipy and a count by hand."""

import numpy as np
import scipy.stats

from mvae_jax.report import conclusion, writing
from mvae_jax.report.study import Study
from tests.fake_runs import SEEDS, draw, write_run


def said(root):
    report, _ = writing.read([root], None, Study())
    return list(conclusion.sentences(report))


def test_what_is_significant_is_counted_and_its_bound_is_named(tmp_path):
    """The ELBO differs at z=2, by chance alone at z=4; the seven other metrics are equal."""
    rng = np.random.default_rng(1)
    gains = {2: rng.normal(0.9, 0.1, 5), 4: rng.normal(0.0, 0.1, 5)}
    p = {z: scipy.stats.ttest_1samp(gain, 0).pvalue for z, gain in gains.items()}
    assert 2 * p[2] < 0.05 < p[4]  # what Holm's correction asks of two cells
    for z, gain in gains.items():
        base = draw(-20.0, 1.0, rng=z)
        write_run(tmp_path, "vae", z, {"elbo": base})
        better = {seed: base[seed] + gain[i] for i, seed in enumerate(SEEDS)}
        write_run(tmp_path, "mvae", z, {"elbo": better})
    assert said(tmp_path) == [
        "mvae against vae: of 16 differences in 8 metrics on 1 data set, paired by seed, 1 favour "
        "mvae and 0 vae (p below 0.05 after Holm's correction). The other 15 are undecided.",
        "ELBO of mvae less vae in nats, where it is significant: digits (release) "
        f"{gains[2].mean():+.2f} at z=2.",
    ]


def test_few_seeds_are_said(tmp_path):
    for model in ("vae", "mvae"):
        write_run(tmp_path, model, 2, {"elbo": draw(-20.0, 1.0, SEEDS[:2], rng=len(model))})
    found = said(tmp_path)
    assert "No difference in the ELBO is significant, of 1." in found
    assert found[-1].startswith("The comparisons rest on 2 seeds. Below 5, ")


def test_one_model_has_its_bound_and_interval(tmp_path):
    bound = draw(-20.0, 1.0)
    write_run(tmp_path, "mvae", 2, {"elbo": bound})
    values = list(bound.values())
    low, high = scipy.stats.t.interval(0.95, 4, np.mean(values), scipy.stats.sem(values))
    assert said(tmp_path) == [
        f"The ELBO on digits, release protocol is {np.mean(values):.2f} [{low:.2f}, {high:.2f}] "
        "nats, of mvae z=2 with 5 seeds. No two models were compared."
    ]
