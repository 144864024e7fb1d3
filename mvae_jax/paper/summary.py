"""A report in a few sentences, and the runs behind it."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mvae_jax.paper import reproduction
from mvae_jax.paper.audit import Finding
from mvae_jax.paper.cells import BASELINE, CELLS, MODEL
from mvae_jax.paper.judge import NOT_TESTED
from mvae_jax.paper.reproduction import EPOCHS, SCORED_SEEDS, Figure, is_short
from mvae_jax.paper.rules import NOT_SUPPORTED, SUPPORTED, UNDECIDED
from mvae_jax.report.cells import Cell, likelihood
from mvae_jax.report.comparisons import Comparisons
from mvae_jax.report.formats import Grid
from mvae_jax.report.frame import Scores
from mvae_jax.report.metrics import HEADLINES, METRICS, describe
from mvae_jax.report.statistics import ALPHA, holm

NUM_CELLS = 2 * len(CELLS)
# What says again what another metric says, and what C's mixing alone raises.
RESTATED = (
    *("elbo_release", "brier_halved", "brier_halved_standardised", "ece_fixed"),
    *("ece_fixed_standardised", "active_units"),
)


def sentences(found: Scores, compared: Comparisons, claims: Sequence[Finding]) -> list[str]:
    """Return what a reader takes away: coverage, agreement, differences, claims."""
    figures = reproduction.figures(found)
    parts = (_coverage(found, figures), _agreement(figures))
    return [*filter(None, parts), *_differences(*_by_length(found, compared)), _verdicts(claims)]


def _coverage(found: Scores, figures: list[Figure]) -> str:
    seeds = " or ".join(map(str, sorted({f.seeds for f in figures})))
    epochs = " or ".join(map(str, sorted({f.epochs for f in figures if f.epochs is not None})))
    with_what = f", with {seeds} seeds and {epochs} epochs" if figures else ""
    return (
        f"{NUM_CELLS - len(not_run(found))} of the paper's {NUM_CELLS} cells (a model on a data "
        f"set at one z) were run under the release protocol{with_what}."
    )


def _agreement(figures: list[Figure]) -> str:
    judged = reproduction.comparable(figures)
    if not judged:
        return ""
    fewest, weak = min(judged, key=lambda figure: figure.seeds), ""
    if fewest.seeds < SCORED_SEEDS and fewest.interval and fewest.sd:
        reach = (fewest.interval[1] - fewest.mean) / fewest.sd
        weak = (
            f" With {fewest.seeds} seeds it reaches {reach:.1f} standard deviations to either "
            f"side, so this is a weak test. The share is a score from {SCORED_SEEDS} seeds on."
        )
    groups: dict[str, list[Figure]] = {}
    for figure in figures:
        if figure.interval and figure not in judged:
            groups.setdefault(reproduction.group(figure), []).append(figure)
    apart = "; ".join(f"{_inside(members)}, {group}" for group, members in groups.items())
    return (
        f"{_inside(judged, ' released figures')} lie inside our 95% prediction interval for one "
        f"new seed, where images, probe and epochs are the release's.{weak}"
        + (f" Counted apart: {apart}." if apart else "")
    )


def _inside(figures: Sequence[Figure], what: str = "") -> str:
    inside = sum(bool(figure.inside) for figure in figures)
    return f"{inside} of {len(figures)}{what} ({inside / len(figures):.0%})"


def _by_length(found: Scores, compared: Comparisons) -> tuple[Comparisons, Comparisons]:
    """Return MVAE's comparisons of runs as long as the paper's, and those of shorter ones."""
    short = {cell for cell, run in found.cells.items() if is_short(run.config)}
    is_mvae = compared.frame.model == MODEL
    of_short = pd.Series([cell in short for _, cell, _ in compared], dtype=bool)
    return compared.select(is_mvae & ~of_short), compared.select(is_mvae & of_short)


def _differences(compared: Comparisons, short: Comparisons) -> Iterator[str]:
    """Yield which differences remain in the metrics of the page, then in the others."""
    headlines = [c for metric, _, c in compared if metric in HEADLINES]
    if headlines:
        # One test of its family is found as often as the family is large.
        families = Counter(c.family for c in headlines if c.family)
        number = sum(count // family for family, count in families.items())
        p = np.array([c.comparison.p_t for c in headlines if c.comparison.p_t is not None], float)
        together = int((holm(p) < ALPHA).sum())
        data_sets = {cell.setting.dataset for metric, cell, _ in compared if metric in HEADLINES}
        better = Counter(model for model, *_ in _significant(compared, HEADLINES))
        yield (
            f"MVAE and VAE were compared in {len(headlines)} figures (ELBO and the paper's seven "
            f"metrics, on {_joined(sorted(data_sets))}), paired by seed. After Holm's correction "
            f"within each metric and protocol, {better[MODEL]} differences favour MVAE and "
            f"{better[BASELINE]} VAE{_where(compared)}. {families[1]} of the {number} "
            f"corrections are over one cell alone, which is an uncorrected test. After one "
            f"correction over all {len(p)} figures, {together} remain. The others are not "
            "shown to differ."
        )
    others: dict[str, list[str]] = {MODEL: [], BASELINE: []}
    for model, title, _ in _significant(compared, METRICS.keys() - {*HEADLINES, *RESTATED}):
        others[model].append(title)
    if any(others.values()):
        said = " and ".join(
            f"{len(titles)} favour {model.upper()}"
            + (f" ({_joined(dict.fromkeys(titles))})" if titles else "")
            for model, titles in others.items()
        )
        yield f"In measures that the paper does not print, {said}."
    if left_out := int(short.frame.metric.isin(HEADLINES).sum()):
        yield f"Not counted as differences: {left_out} figures after fewer than {EPOCHS} epochs."


def _significant(
    compared: Comparisons, metrics: Collection[str]
) -> Iterator[tuple[str, str, Cell]]:
    """Yield whom each significant difference favours, its metric's title, and its cell."""
    for metric, cell, c in compared:
        gain = c.comparison.difference.mean * describe(metric).better
        if c.significant and gain and metric in metrics:
            yield MODEL if gain > 0 else BASELINE, describe(metric).title, cell


def _where(compared: Comparisons) -> str:
    """Return in which cells and metrics of the page there is a significant difference."""
    found: dict[str, list[str]] = {}
    for model, title, (setting, z, _) in _significant(compared, HEADLINES):
        protocol = "" if setting.protocol == "release" else f", {setting.protocol} protocol"
        of_cell = found.setdefault(f"{setting.dataset} z={z}{protocol}", [])
        of_cell.append(title if model == MODEL else f"{title} for VAE")
    said = "; ".join(f"{where}: {_joined(titles)}" for where, titles in found.items())
    return f" ({said})" if said else ""


def _verdicts(claims: Sequence[Finding]) -> str:
    """Return how many claims each body of evidence supports."""
    said = []
    for body in claims[0].verdicts:
        verdicts = [finding.verdicts[body] for finding in claims]
        counts = Counter(verdict.verdict for verdict in verdicts)
        lacking = sum(v.verdict == UNDECIDED and bool(v.lacking) for v in verdicts)
        why = f" ({lacking} for lack of figures)" if lacking else ""
        said.append(
            f"on the evidence of {body}, {counts[SUPPORTED]} are supported, "
            f"{counts[NOT_SUPPORTED]} are not, and {counts[UNDECIDED]} are open{why}"
        )
    return (
        f"Of the paper's {len(claims)} claims, {counts[NOT_TESTED]} are not tested. Of the others, "
        f"{'; '.join(said)}."
    )


def what_was_run(found: Scores) -> Grid:
    """Return the runs; those that differ in their latent size alone share a row.

    The code and the versions that trained each are in its environment.
    """
    sizes: dict[tuple[str, ...], list[int]] = {}
    for (setting, z, model), run in found.cells.items():
        if not run.missing:
            config, devices = run.config, run.environment.get("devices", ["-"])
            row = (
                *(str(setting), model, str(len(run.seeds)), str(config.get("num_epochs", "-"))),
                *(likelihood(config), _mean(model, config), _joined(sorted({*devices}))),
            )
            sizes.setdefault(row, []).append(z)
    headers = ("data set", "model", "z", "seeds", "epochs", "likelihood", "mean", "devices")
    rows = [(*row[:2], _joined(sorted(of)), *row[2:]) for row, of in sizes.items()]
    return Grid("Runs", headers, rows)


def _mean(model: str, config: Mapping[str, Any]) -> str:
    if "couple_mean" not in config or model != MODEL:
        return "-"
    return "C m(x)" if config["couple_mean"] else "m(x)"


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
    sizes = missing.groupby(["dataset", "model"], sort=False).z.agg(_joined).reset_index()
    models = sizes.groupby(["dataset", "z"], sort=False).model.agg(" and ".join).reset_index()
    datasets = models.groupby(["model", "z"], sort=False).dataset.agg(_joined)
    return {f"{of} on {names}": z for (of, z), names in datasets.items()}


def _joined(values: Iterable[object]) -> str:
    """Return values as a list in a sentence or a cell."""
    return ", ".join(map(str, values))
