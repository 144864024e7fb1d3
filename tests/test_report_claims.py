"""What the paper's tables say of its text, and how our runs are judged."""

from functools import partial

import jax
import numpy as np
import pytest

from mvae_jax import config as config_lib
from mvae_jax import model as network
from mvae_jax.paper import audit, claims, reference
from mvae_jax.paper.audit import NOT_SUPPORTED, SUPPORTED, UNDECIDED, Evidence, Pair
from mvae_jax.paper.claims import CLAIMS, Claim, Unit
from mvae_jax.report import runs
from mvae_jax.report.formats import markdown
from tests.fake_runs import SEEDS, write_run

PRINTED = audit.published(corrected=False)
CORRECTED = audit.published(corrected=True)


def find(start):
    (claim,) = (claim for claim in CLAIMS if claim.says.startswith(start))
    return claim


def test_mse_as_printed_is_8_better_24_tied_10_worse():
    for evidence in (PRINTED, CORRECTED):
        verdict = audit.judge(find("MVAE consistently matches"), evidence)
        assert verdict.verdict == NOT_SUPPORTED
        assert verdict.detail == "mixed, 8 better, 24 tied, 10 worse"


def test_the_gain_on_rotated_at_16_is_mixed_as_printed():
    verdict = audit.judge(find("MVAE gains on Rotated"), PRINTED)
    assert verdict == (NOT_SUPPORTED, 0, "mixed, 2 better, 1 tied, 4 worse", "")
    # The row printed as 16 is z=2; that of z=16 agrees with the text.
    assert audit.judge(find("MVAE gains on Rotated"), CORRECTED).verdict == SUPPORTED


@pytest.mark.parametrize(("z", "how"), [(16, "mixed"), (256, "mixed"), (512, "contradicted")])
def test_the_calibration_gain_on_cifar10_is_contradicted_or_mixed(z, how):
    claim = find("MVAE is better calibrated on CIFAR-10")
    assert {unit.cells[0] for unit in claim.units} == {("cifar10", n) for n in (16, 256, 512)}
    unit = next(unit for unit in claim.units if unit.cells[0][1] == z)
    for evidence in (PRINTED, CORRECTED):
        verdict = audit.judge(claim._replace(units=(unit,)), evidence)
        assert verdict.verdict == NOT_SUPPORTED
        assert verdict.detail.startswith(how)
        assert audit.judge(claim, evidence).verdict == NOT_SUPPORTED


def test_what_the_paper_does_not_print_is_undecided():
    for says in ("MVAE improves the test ELBO", "MVAE's overhead", "MVAE avoids"):
        assert audit.judge(find(says), PRINTED) == (UNDECIDED, 0, "", "not published")


def test_what_can_be_counted_needs_no_run():
    """C adds z^2 numbers: more than 1% from z=256 on, at 784 pixels; 2 z^2 multiply-adds."""
    verdict = audit.judge(find("The models have matched"), PRINTED)
    assert verdict == (NOT_SUPPORTED, 0, "mixed, 0 better, 28 within 1%, 14 worse", "")
    growth = audit.judge_growth(claims.COST, PRINTED)
    assert growth.verdict == NOT_SUPPORTED
    assert "multiply-adds cifar10 z^2.00" in growth.detail


@pytest.mark.parametrize("model", ["vae", "mvae"])
def test_the_networks_described_are_ours(model):
    config = config_lib.base_config("mnist_basic", f"{model},16")
    config.image_shape = (28, 28, 1)
    params = jax.eval_shape(partial(network.init, config), jax.random.key(0))
    leaves = [int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params)]
    counted = reference.network_sizes("mnist_basic", 16, model)
    assert counted["num_parameters"] == sum(leaves)


def test_frey_face_as_printed():
    assert audit.judge(find("MVAE reconstructs FreyFace"), PRINTED).verdict == SUPPORTED


def test_mid_range_is_the_papers():
    units = {unit.name: unit for unit in find("The gains are largest").units}
    assert [z for _, z in units["mnist_basic"].cells] == [4, 16, 32]
    assert [z for _, z in units["cifar100"].cells] == [16, 32, 256]
    assert [z for _, z in units["cifar100"].less] == [2, 4, 512]
    assert "fashion_mnist" not in units


def test_both_abstracts_are_audited():
    """Version 1 sees the gains at mid-range z, version 2 at both ends: undecided in print."""
    sizes = {
        end: {
            d: sorted(
                z
                for unit in find(f"The gains are notable at {end}").units
                for of, z in unit.cells
                if of == d
            )
            for d in ("mnist_basic", "cifar10", "fashion_mnist")
        }
        for end in ("low", "high")
    }
    assert sizes["low"] == {"mnist_basic": [2], "cifar10": [2, 4], "fashion_mnist": []}
    assert sizes["high"] == {"mnist_basic": [256, 512], "cifar10": [512], "fashion_mnist": []}
    for says in (
        "The gains are largest",
        "The gains are notable at low",
        "The gains are notable at high",
    ):
        for published in (PRINTED, CORRECTED):
            assert audit.judge(find(says), published).verdict == UNDECIDED


def test_steady_gains_on_cifar100_are_mixed_in_print():
    verdict = audit.judge(find("MVAE shows steady gains"), PRINTED)
    assert verdict == (NOT_SUPPORTED, 0, "mixed, 19 better, 5 tied, 12 worse", "")


def test_every_claim_names_cells_and_metrics_that_exist():
    for claim in CLAIMS:
        assert claim.units
        assert all(unit.cells for unit in claim.units)
        for metric in claim.metrics:
            assert audit.describe(metric).better, metric


# --- the rule, on made-up seeds ------------------------------------------------------------------

CELLS = tuple(Unit(f"z={z}", (("data", z),)) for z in (2, 4))
EACH = Claim("", "", "", ("nmi",), CELLS, each=True)
AVERAGE = EACH._replace(each=False)


def evidence(gains, metric="nmi", published=False):
    """Pairs with these gains per cell: z -> one gain per seed."""
    pairs = {
        (metric, ("data", z)): Pair(
            dict.fromkeys(range(len(of)), 1.0), {i: 1.0 + gain for i, gain in enumerate(of)}
        )
        for z, of in gains.items()
    }
    return Evidence("made up", pairs, published)


BETTER, OPEN, WORSE = [0.1, 0.11, 0.09, 0.1], [0.3, -0.2, 0.1, -0.1], [-0.1, -0.11, -0.09, -0.1]


@pytest.mark.parametrize(
    ("first", "second", "each", "average"),
    [
        (BETTER, BETTER, SUPPORTED, SUPPORTED),
        (BETTER, OPEN, UNDECIDED, UNDECIDED),
        (BETTER, WORSE, NOT_SUPPORTED, UNDECIDED),
        (WORSE, OPEN, NOT_SUPPORTED, UNDECIDED),
        (WORSE, WORSE, NOT_SUPPORTED, NOT_SUPPORTED),
    ],
)
def test_three_verdicts_with_seeds(first, second, each, average):
    found = evidence({2: first, 4: second})
    assert audit.judge(EACH, found).verdict == each
    assert audit.judge(AVERAGE, found).verdict == average
    assert audit.judge(EACH, found).seeds == 4


def test_the_interval_is_that_of_the_mean_over_cells_within_seeds():
    # The cells' noise cancels within each seed: only the average over cells is sharp.
    noise = np.array([3.0, -2.0, 1.0, -1.0])
    found = evidence({2: (0.1 + noise).tolist(), 4: (0.1 - noise + [0.01, 0, -0.01, 0]).tolist()})
    assert audit.judge(AVERAGE, found).verdict == SUPPORTED
    assert audit.judge(EACH, found).verdict == UNDECIDED


def test_one_seed_decides_nothing():
    verdict = audit.judge(EACH, evidence({2: [0.5], 4: [0.5]}))
    assert verdict.text == "undecided at 1 seed: 2 better, 0 tied, 0 worse"
    assert markdown(verdict.text) == "**undecided at 1 seed**: 2 better, 0 tied, 0 worse"


def test_a_part_of_the_cells_supports_nothing_but_may_contradict():
    assert audit.judge(EACH, evidence({2: BETTER})).verdict == UNDECIDED
    assert audit.judge(EACH, evidence({2: BETTER})).lacking == "1 of 2 there"
    assert audit.judge(EACH, evidence({2: WORSE})).verdict == NOT_SUPPORTED
    assert audit.judge(AVERAGE, evidence({2: WORSE})).verdict == UNDECIDED


def test_no_runs_are_no_evidence():
    assert audit.judge(EACH, evidence({})) == (UNDECIDED, 0, "", "no such runs")


def test_within_the_margin_is_a_match():
    slightly_worse = evidence({2: [-0.005, -0.0051, -0.0049], 4: [-0.005, -0.0051, -0.0049]})
    assert audit.judge(EACH, slightly_worse).verdict == NOT_SUPPORTED
    assert audit.judge(EACH._replace(margin=0.01), slightly_worse).verdict == SUPPORTED


def test_a_match_on_the_average_is_one_within_the_margin():
    equal = evidence({2: [1e-5, -1e-5, 0.0], 4: [-1e-5, 0.0, 1e-5]})
    assert audit.judge(AVERAGE, equal).verdict == UNDECIDED
    assert audit.judge(AVERAGE._replace(margin=0.01), equal).verdict == SUPPORTED


def test_less_flat_than_flat_is_not_without_flat_regions():
    """What MVAE is said to have none of is judged by its own value, too."""
    claim = find("VAE's sweeps have flat regions")

    def verdict(vae, mvae):
        noise = np.array([-0.01, 0.0, 0.01])
        seeds = (dict(enumerate(vae + noise)), dict(enumerate(mvae - noise)))
        pair = {("sweep_flatness", ("frey_face", 32)): Pair(*seeds)}
        return audit.judge(claim, Evidence("made up", pair, published=False)).verdict

    assert verdict(1.0, 0.02) == SUPPORTED
    assert verdict(1.0, 0.8) == NOT_SUPPORTED
    assert verdict(0.02, 0.02) == UNDECIDED


def test_what_a_cell_cannot_have_is_not_missing():
    """An infinite value is no figure, but the cell was run: the others decide."""
    claim = AVERAGE._replace(units=(*CELLS, Unit("z=16", (("data", 16),))))
    found = evidence({2: BETTER, 4: BETTER})
    assert audit.judge(claim, found).verdict == UNDECIDED
    verdict = audit.judge(claim, found._replace(undefined=frozenset({("nmi", ("data", 16))})))
    assert verdict.verdict == SUPPORTED
    assert verdict.detail.endswith("; 1 undefined")


def test_a_claim_on_every_cell_takes_the_seeds_of_each():
    many = evidence({2: BETTER * 3, 4: BETTER})
    assert audit.judge(EACH, many).seeds == 4
    lone = audit.judge(EACH._replace(units=CELLS[:1]), many)
    assert audit.judge(EACH, many).detail.startswith(lone.detail)
    assert not audit.judge(AVERAGE, many).detail.startswith(lone.detail)


def test_the_difference_of_two_regions():
    claim = AVERAGE._replace(units=(Unit("", (("data", 2),), (("data", 4),)),))
    assert audit.judge(claim, evidence({2: BETTER, 4: WORSE})).verdict == SUPPORTED
    assert audit.judge(claim, evidence({2: BETTER, 4: BETTER})).verdict == UNDECIDED


def test_what_the_seed_does_not_vary_is_judged_by_its_value():
    claim = EACH._replace(metrics=("num_parameters",), margin=0.01)
    one = evidence({2: [0.005], 4: [0.5]}, "num_parameters")
    assert audit.judge(claim, one) == (
        NOT_SUPPORTED,
        0,
        "mixed, 0 better, 1 within 1%, 1 worse",
        "",
    )


def test_a_cost_that_is_not_there_is_told():
    found = evidence({2: [1.0], 4: [-0.1], 16: [3.0]}, "epoch_seconds")
    verdict = audit.judge_growth(claims.COST, found)
    assert verdict == (UNDECIDED, 0, "epoch time data: nothing added at z=4", "")


def test_sources_of_images_are_judged_apart(tmp_path):
    for source, gain in (("regenerated", 0.1), ("icml2007", -0.1)):
        for model in ("vae", "mvae"):
            nmi = dict.fromkeys(SEEDS, 0.5 + gain * (model == "mvae"))
            folder = f"{source}-{model}"
            config = {"dataset": "mnist_rotated", "source": source, "folder": folder}
            write_run(tmp_path, model, 4, {"nmi": nmi}, **config)
    for of_source in audit.ours(runs.read([tmp_path])):
        pair = of_source.pairs["nmi", ("mnist_rotated", 4)]
        assert (pair.mvae[777] > pair.vae[777]) == ("regenerated" in of_source.title)


def test_runs_of_fewer_epochs_than_the_papers_are_no_evidence(tmp_path):
    for dataset, epochs in (("cifar10", 199), ("cifar100", 200), ("fashion_mnist", None)):
        for model in ("vae", "mvae"):
            nmi = dict.fromkeys(SEEDS, 0.5)
            write_run(tmp_path, model, 4, {"nmi": nmi}, dataset=dataset, num_epochs=epochs)
    found = runs.read([tmp_path])
    pairs = audit.from_runs(found, "release").pairs
    assert {place for metric, place in pairs if metric == "nmi"} == {
        ("cifar100", 4),
        ("fashion_mnist", 4),  # which does not say
    }
    assert {setting.dataset for setting in audit.settings(found)} == {"cifar100", "fashion_mnist"}


@pytest.mark.parametrize(("power", "verdict"), [(1, SUPPORTED), (2, NOT_SUPPORTED)])
def test_the_growth_of_an_added_cost(power, verdict):
    sizes = (2, 4, 16, 64)
    found = evidence({z: [float(z**power)] for z in sizes}, "multiply_adds")
    assert audit.judge_growth(claims.COST, found).verdict == verdict
    assert f"z^{power}.00" in audit.judge_growth(claims.COST, found).detail


def test_our_runs_are_judged_on_the_papers_cells(tmp_path):
    """Released figures as if they were ours, with seeds around them, and one cell made worse."""
    release = reference.release()
    rng = np.random.default_rng(0)
    for dataset, z in claims.CELLS:
        noise = rng.normal(0, 1e-4, len(SEEDS))
        for model in ("vae", "mvae"):
            mse = float(release[reference.Key("mse", dataset, z, "vae")])
            mse *= 0.9 if model == "mvae" else 1
            values = {"mse": dict(zip(SEEDS, mse * (1 + noise), strict=True))}
            write_run(tmp_path, model, z, values, dataset=dataset)
    found = audit.from_runs(runs.read([tmp_path]), "release")
    verdict = audit.judge(find("MVAE consistently matches"), found)
    assert (verdict.verdict, verdict.seeds) == (SUPPORTED, 5)
    assert audit.from_runs(runs.read([tmp_path]), "paper").pairs == {}


def test_all_quantities_need_no_correction_and_one_does():
    """Three seeds at 6 sd: each 95% interval is above zero, the one for two quantities is not."""
    gains = [0.05, 0.06, 0.07]
    t = np.mean(gains) / (np.std(gains, ddof=1) / 3**0.5)
    assert 4.31 < t / 2.0 < 6.21  # t quantiles at 2 degrees of freedom: 4.30 at 95%, 6.21 at 97.5%
    shifted = [gain - np.mean(gains) / 2 for gain in gains]
    worse = [-gain for gain in shifted]
    assert audit.judge(EACH, evidence({2: shifted, 4: shifted})).verdict == SUPPORTED
    assert audit.judge(EACH, evidence({2: worse, 4: BETTER[:3]})).verdict == UNDECIDED
    assert (
        audit.judge(EACH._replace(units=CELLS[:1]), evidence({2: worse})).verdict == NOT_SUPPORTED
    )
