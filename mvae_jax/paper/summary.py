"""What the page says of a report in a few sentences, and the runs behind it."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pandas as pd

from mvae_jax.paper import reproduction
from mvae_jax.paper.audit import Finding
from mvae_jax.paper.cells import BASELINE, CELLS, MODEL
from mvae_jax.paper.reproduction import EPOCHS, SCORED_SEEDS, is_short
from mvae_jax.paper.rules import UNDECIDED
from mvae_jax.paper.tables import grid
from mvae_jax.report.cells import likelihood
from mvae_jax.report.comparisons import Comparisons
from mvae_jax.report.formats import Grid
from mvae_jax.report.frame import Scores
from mvae_jax.report.metrics import HEADLINES, METRICS, describe
from mvae_jax.report.statistics import ALPHA, holm

# What says again what another metric says, and what C's mixing alone raises.
RESTATED = (
    *("elbo_release", "brier_halved", "brier_halved_standardised", "ece_fixed"),
    *("ece_fixed_standardised", "active_units"),
)


def facts(found: Scores, compared: Comparisons, claims: Sequence[Finding]) -> dict[str, Any]:
    """Return what the template summary.md tells: coverage, agreement, differences, claims."""
    missing = not_run(found)
    return {
        "num_cells": 2 * len(CELLS),
        "num_not_run": len(missing),
        "not_run": not_run_together(missing),
        "what_was_run": what_was_run(found),
        "epochs_of_paper": EPOCHS,
        **_agreement(reproduction.figures(found)),
        **_differences(found, compared),
        **_verdicts(claims),
    }


def _agreement(figures: pd.DataFrame) -> dict[str, Any]:
    """Return how many released figures lie inside our intervals, and how wide these may be."""
    judged, reach, fewest = reproduction.comparable(figures), 0.0, None
    if len(judged):
        fewest = judged.seeds.min()
        first = judged[judged.seeds == fewest].iloc[0]
        if fewest < SCORED_SEEDS and first.sd:
            reach = first.reach / first.sd
    apart = figures[figures.reach.notna() & ~figures.index.isin(judged.index)]
    return {
        "seeds": reproduction.either(figures.seeds),
        "epochs": reproduction.either(figures.epochs),
        "judged": _inside(judged, " released figures") if len(judged) else "",
        "apart": [f"{_inside(of)}, {name}" for name, of in apart.groupby("group", sort=False)],
        "fewest": fewest,
        "reach": reach,
        "scored_seeds": SCORED_SEEDS,
    }


def _inside(figures: pd.DataFrame, what: str = "") -> str:
    inside = figures.inside.eq(True).sum()
    return f"{inside} of {len(figures)}{what} ({inside / len(figures):.0%})"


def _differences(found: Scores, compared: Comparisons) -> dict[str, Any]:
    """Return which differences of MVAE remain: in the metrics of the page, and in the others.

    Runs of fewer epochs than the paper's are counted apart.
    """
    frame = compared.frame[compared.frame.model == MODEL]
    is_of_short = frame.cell.map(lambda cell: is_short(found.cells[cell].config)).astype(bool)
    is_headline = frame.metric.isin(HEADLINES)
    headlines = frame[is_headline & ~is_of_short]
    # One test of its family is found as often as the family is large.
    families = headlines.family[headlines.family > 0].value_counts()
    p = headlines.p_t.dropna().to_numpy(float)
    significant: dict[str, list[str]] = {}
    better: Counter[str] = Counter()
    others: dict[str, list[str]] = {MODEL: [], BASELINE: []}
    for row in frame[~is_of_short & (frame.p_holm < ALPHA)].itertuples():
        metric = describe(row.metric)
        gain = row.difference * metric.better
        model = MODEL if gain > 0 else BASELINE
        if gain and row.metric in HEADLINES:
            protocol = "" if row.protocol == "release" else f", {row.protocol} protocol"
            of_cell = significant.setdefault(f"{row.dataset} z={row.latent_size}{protocol}", [])
            of_cell.append(metric.title if model == MODEL else f"{metric.title} for VAE")
            better[model] += 1
        elif gain and row.metric in METRICS and row.metric not in RESTATED:
            others[model].append(metric.title)
    return {
        "headlines": len(headlines),
        "data_sets": sorted({*headlines.dataset}),
        "better": better,
        "significant": significant,
        "num_alone": families.get(1, 0),
        "num_families": sum(count // family for family, count in families.items()),
        "num_tests": len(p),
        "together": int((holm(p) < ALPHA).sum()),
        "others": others,
        "num_short": int((is_headline & is_of_short).sum()),
    }


def _verdicts(claims: Sequence[Finding]) -> dict[str, Any]:
    """Return how many claims each body of evidence supports, contradicts and leaves open."""
    counts: dict[str, Counter[str]] = {}
    for body in claims[0].verdicts:
        verdicts = [found.verdicts[body] for found in claims]
        counts[body] = Counter(verdict.verdict for verdict in verdicts)
        counts[body]["lacking"] = sum(v.verdict == UNDECIDED and bool(v.lacking) for v in verdicts)
    untested = sum(not found.claim.checks for found in claims)
    return {"num_claims": len(claims), "num_untested": untested, "verdicts": counts}


def what_was_run(found: Scores) -> Grid:
    """Return the runs; those that differ in their latent size alone share a row.

    The code and the versions that trained each are in its environment.
    """
    sizes: dict[tuple[str, ...], list[int]] = {}
    for (setting, z, model), run in found.cells.items():
        if not run.missing:
            config, devices = run.config, run.environment.get("devices", ["-"])
            coupled = config.get("couple_mean") if model == MODEL else None
            mean = {True: "C m(x)", False: "m(x)", None: "-"}[coupled]
            row = (
                *(str(setting), model, str(len(run.seeds)), str(config.get("num_epochs", "-"))),
                *(likelihood(config), mean, ", ".join(sorted({*devices}))),
            )
            sizes.setdefault(row, []).append(z)
    rows = [(*row[:2], ", ".join(map(str, sorted(of))), *row[2:]) for row, of in sizes.items()]
    return grid("runs", rows)


def not_run(found: Scores) -> pd.DataFrame:
    """Return the dataset, z and model of the paper's cells without a run (release protocol)."""
    done = {
        (cell.setting.dataset, cell.latent_size, cell.model)
        for cell, run in found.cells.items()
        if cell.setting.protocol == "release" and not cell.setting.variant and not run.missing
    }
    cells = [(*cell, model) for cell in CELLS for model in (BASELINE, MODEL)]
    missing = [cell for cell in cells if cell not in done]
    return pd.DataFrame(missing, columns=["dataset", "z", "model"])


def not_run_together(missing: pd.DataFrame) -> dict[str, str]:
    """Return models and data sets -> the latent sizes that all of these lack."""
    sizes = missing.astype({"z": str}).groupby(["dataset", "model"], sort=False).z.agg(", ".join)
    models = sizes.reset_index().groupby(["dataset", "z"], sort=False).model.agg(" and ".join)
    datasets = models.reset_index().groupby(["model", "z"], sort=False).dataset.agg(", ".join)
    return {f"{of} on {names}": z for (of, z), names in datasets.items()}
