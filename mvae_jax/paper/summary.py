"""A report in a few sentences, and the runs behind it."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence

import numpy as np
import pandas as pd

from mvae_jax.paper import reproduction
from mvae_jax.paper.audit import Finding
from mvae_jax.paper.cells import BASELINE, CELLS, MODEL
from mvae_jax.paper.reproduction import EPOCHS, SCORED_SEEDS, Figure, is_short
from mvae_jax.paper.rules import UNDECIDED
from mvae_jax.report.cells import likelihood
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
    return [*filter(None, parts), *_differences(*_by_length(found, compared)), *_verdicts(claims)]


def _coverage(found: Scores, figures: list[Figure]) -> str:
    missing = sum(map(len, not_run(found).values()))
    seeds = _joined(sorted({f.seeds for f in figures}))
    epochs = _joined(sorted({f.epochs for f in figures if f.epochs is not None}))
    with_what = f", with {seeds} seeds and {epochs} epochs" if figures else ""
    return (
        f"{NUM_CELLS - missing} of the paper's {NUM_CELLS} cells (a model on a data set at one z) "
        f"were run under the release protocol{with_what}."
    )


def _agreement(figures: list[Figure]) -> str:
    judged = reproduction.comparable(figures)
    if not judged:
        return ""
    fewest, weak = min(judged, key=lambda figure: figure.seeds), ""
    if fewest.seeds < SCORED_SEEDS and fewest.interval and fewest.sd:
        reach = (fewest.interval[1] - fewest.mean) / fewest.sd
        weak = (
            f" At {fewest.seeds} seeds it reaches {reach:.1f} standard deviations to either side: "
            f"a weak test, and no score below {SCORED_SEEDS} seeds."
        )
    groups: dict[str, list[Figure]] = {}
    for figure in figures:
        if figure.interval and figure not in judged:
            groups.setdefault(reproduction.group(figure), []).append(figure)
    apart = "; ".join(f"{_inside(members)}, {group}" for group, members in groups.items())
    return (
        f"{_inside(judged, ' released figures')} lie inside our 95% prediction interval for one "
        f"new seed, where images, probe and epochs are the release's.{weak}"
        + (f" Set apart: {apart}." if apart else "")
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
    better = _significant(compared, HEADLINES)
    if headlines:
        # One test of its family is found as often as the family is large.
        families = Counter(c.family for c in headlines if c.family)
        number = sum(count // family for family, count in families.items())
        p = np.array([c.comparison.p_t for c in headlines if c.comparison.p_t is not None], float)
        together = int((holm(p) < ALPHA).sum())
        data_sets = {cell.setting.dataset for metric, cell, _ in compared if metric in HEADLINES}
        yield (
            f"MVAE and VAE were compared in {len(headlines)} figures (ELBO and the paper's seven "
            f"metrics, on {_joined(sorted(data_sets))}), paired by seed. After Holm's correction "
            f"within each metric and protocol, {len(better[MODEL])} differences favour MVAE and "
            f"{len(better[BASELINE])} VAE. These are {number} corrections, {families[1]} of them "
            f"over one cell alone, which is no correction; after one over all {len(p)} figures, "
            f"{together} remain. The others are not shown to differ."
        )
    unprinted = METRICS.keys() - {*HEADLINES, *RESTATED}
    others = _significant(compared, unprinted)
    if any(others.values()):
        said = " and ".join(
            f"{len(titles)} favour {model.upper()}"
            + (f" ({_joined(dict.fromkeys(titles))})" if titles else "")
            for model, titles in others.items()
        )
        yield f"Of the differences in measures that the paper does not print, {said}."
    if left_out := int(short.frame.metric.isin(HEADLINES).sum()):
        yield f"Not counted as differences: {left_out} figures after fewer than {EPOCHS} epochs."


def _significant(compared: Comparisons, metrics: Collection[str]) -> dict[str, list[str]]:
    """Return model -> the title of each metric that has a significant difference in its favour."""
    better: dict[str, list[str]] = {MODEL: [], BASELINE: []}
    for metric, _, c in compared:
        gain = c.comparison.difference.mean * describe(metric).better
        if c.significant and gain and metric in metrics:
            shown = describe(metric)
            title = f"{shown.title} ({shown.unit})" if shown.unit else shown.title
            better[MODEL if gain > 0 else BASELINE].append(title)
    return better


def _verdicts(claims: Sequence[Finding]) -> Iterator[str]:
    for body in claims[0].verdicts:
        verdicts = [finding.verdicts[body] for finding in claims]
        counts = Counter(verdict.verdict for verdict in verdicts)
        lacking = sum(v.verdict == UNDECIDED and bool(v.lacking) for v in verdicts)
        said = ", ".join(f"{number} {verdict}" for verdict, number in sorted(counts.items()))
        why = f" ({lacking} of them because figures are lacking)" if lacking else ""
        yield f"The paper's {len(claims)} claims, on the evidence of {body}: {said}{why}."


def what_was_run(found: Scores) -> Grid:
    """Return the runs; those that differ in their latent size alone share a row."""
    rows: dict[tuple[str, ...], list[int]] = {}
    versions: set[str] = set()
    for (setting, z, model), run in found.cells.items():
        if run.missing:
            continue
        config, environment = run.config, run.environment
        mean = "C m(x)" if config.get("couple_mean") else "m(x)"
        row = (
            *(str(setting), model, str(len(run.seeds))),
            *(str(config.get("num_epochs", "-")), likelihood(config)),
            mean if "couple_mean" in config and model == MODEL else "-",
            *(", ".join(sorted(set(environment.get("devices", ["-"])))),),
            *(environment.get("processor", "-"), (environment.get("git_revision") or "-")[:10]),
        )
        rows.setdefault(row, []).append(z)
        versions.add(_joined(f"{k} {v}" for k, v in environment.get("versions", {}).items()))
    headers = ("data set", "model", "z", "seeds", "epochs", "likelihood", "mean")
    return Grid(
        "Runs",
        (*headers, "devices", "processor", "revision"),
        [(*row[:2], _joined(sorted(sizes)), *row[2:]) for row, sizes in rows.items()],
        notes=sorted(filter(None, versions)),
    )


def not_run(found: Scores) -> dict[str, list[str]]:
    """Returns, per model and data set, the paper's latent sizes that no run of ours fills.

    Of the release protocol.
    """
    done = {
        (cell.setting.dataset, cell.latent_size, cell.model)
        for cell, run in found.cells.items()
        if cell.setting.protocol == "release" and not cell.setting.variant and not run.missing
    }
    missing: dict[str, list[str]] = {}
    for dataset, z in CELLS:
        for model in (BASELINE, MODEL):
            if (dataset, z, model) not in done:
                missing.setdefault(f"{model} on {dataset}", []).append(str(z))
    return missing


def _joined(values: Iterable[object]) -> str:
    """Return values as a list in a sentence or a cell."""
    return ", ".join(map(str, values))
