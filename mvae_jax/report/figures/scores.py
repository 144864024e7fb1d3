"""Figures of scores: metrics against z, paired differences, training, reliability."""

import itertools
import math
import os

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mvae_jax.report.cells import Run, read_metrics
from mvae_jax.report.figures import style
from mvae_jax.report.figures.table import Table
from mvae_jax.report.frame import Scores
from mvae_jax.report.metrics import HEADLINES, describe
from mvae_jax.report.pairs import models_of
from mvae_jax.report.statistics import ALPHA
from mvae_jax.report.swept import Sweep
from mvae_jax.store import run_folder

DASHES = ("-", "--", ":", "-.")  # of latent sizes
FEW = 10  # examples of a bin below which its accuracy says nothing


def metrics_against_latent_size(table: Table) -> Figure | None:
    """Draw each metric's mean and 95% interval over z, with published points."""
    shown = [m for m in HEADLINES if any(table.scores.has(cell, m) for cell in table.cells)]
    sizes = sorted({cell.latent_size for cell in table.cells})
    if not shown or len(sizes) < 2:
        return None
    figure, axes = style.panels(len(shown), 4, 1.75)
    for metric, ax in zip(shown, axes, strict=True):
        for model in table.models:
            _draw_means(ax, table, metric, model, sizes)
        # Evenly spaced, so that every size can be named.
        ax.set_xticks(range(len(sizes)), [str(z) for z in sizes])
        ax.set(title=describe(metric).heading, xlabel="latent size z", ylabel=_short_unit(metric))
    if any(line.get_marker() == "x" for ax in axes for line in ax.lines):
        axes[0].plot([], [], "x", color="grey", label="published")
    style.legend(figure, axes[0])
    return figure


def _draw_means(ax: Axes, table: Table, metric: str, model: str, sizes: list[int]) -> None:
    """Draw one model's means over z, a little beside those of the other models."""
    models = table.models
    shift = 0.02 * len(sizes) * (models.index(model) - len(models) / 2 + 0.5)
    places = {cell: sizes.index(cell.latent_size) for cell in table.cells if cell.model == model}
    means = {place: table.scores.summary(cell, metric) for cell, place in places.items()}
    known = {place + shift: summary for place, summary in means.items() if summary}
    heights = [s.interval[1] - s.interval[0] if s.interval else 0.0 for s in known.values()]
    ax.errorbar(
        [*known],
        [s.mean for s in known.values()],
        [height / 2 for height in heights],
        capsize=2,
        **style.line(model, models),
    )
    points = {place: table.point(metric, cell) for cell, place in places.items()}
    published = {place: point for place, point in points.items() if point is not None}
    if published:
        colour = style.colour(model, models)
        ax.plot([*published], [*published.values()], "x", color=colour, markersize=5)


def metrics_against_value(found: Scores, sweep: Sweep) -> Figure | None:
    """Draw each metric's mean and 95% interval over the values of one swept scalar."""
    shown = [m for m in HEADLINES if any(found.has(cell, m) for cell in sweep.cells.values())]
    values = sorted({value for value, _, _ in sweep.cells})
    if not shown or len(sweep.fields) > 1 or len(values) < 2:
        return None
    sizes = sorted({z for _, z, _ in sweep.cells})
    models = models_of({cell: found.cells[cell] for cell in sweep.cells.values()})
    figure, axes = style.panels(len(shown), 4, 1.75)
    for metric, ax in zip(shown, axes, strict=True):
        for model, (number, z) in itertools.product(models, enumerate(sizes)):
            of_line = {v: c for (v, size, m), c in sweep.cells.items() if (size, m) == (z, model)}
            means = {values.index(v): found.summary(cell, metric) for v, cell in of_line.items()}
            known = {place: summary for place, summary in means.items() if summary}
            heights = [s.interval[1] - s.interval[0] if s.interval else 0.0 for s in known.values()]
            look = style.line(model, models)
            if len(sizes) > 1:
                look |= {
                    "label": f"{look['label']}, z={z}",
                    "linestyle": DASHES[number % len(DASHES)],
                }
            middles = [summary.mean for summary in known.values()]
            ax.errorbar([*known], middles, [h / 2 for h in heights], capsize=2, **look)
        # Evenly spaced, so that every value can be named.
        ax.set_xticks(range(len(values)), [f"{value:g}" for (value,) in values])
        ax.set(
            title=describe(metric).heading,
            xlabel=sweep.fields[0].replace("_", " "),
            ylabel=_short_unit(metric),
        )
    style.legend(figure, axes[0])
    return figure


def paired_differences(table: Table) -> Figure | None:
    """Draw a forest plot per metric: rows z, each model less the baseline, 95% intervals."""
    frame = table.compared.frame
    shown_here = frame.cell.isin([*table.cells]) & frame.metric.isin(HEADLINES)
    found = frame[shown_here & frame.low95.notna()]
    if found.empty:
        return None
    sizes = sorted({*found.latent_size})
    shown = [metric for metric in HEADLINES if metric in {*found.metric}]
    models = [model for model in table.models if model in {*found.model}]
    of = style.label(models[0]) if len(models) == 1 else "model"
    baseline = style.label(table.compared.baseline)
    height = 0.75 + 0.16 * len(sizes) * len(models)
    figure, axes = style.panels(len(shown), 4, height, sharey=True)
    for metric, ax in zip(shown, axes, strict=True):
        for row in found[found.metric == metric].itertuples():
            place = (models.index(row.model) + 0.5) / len(models) - 0.5
            y = sizes.index(row.latent_size) + 0.8 * place
            look = style.line(row.model, table.models) | {"markersize": 4}
            ax.plot((row.low95, row.high95), (y, y), color=look["color"])
            face = look["color"] if row.p_holm < ALPHA else "white"
            ax.plot(row.difference, y, mfc=face, linestyle="none", **look)
        limit = max(map(abs, ax.get_xlim()))
        if better := describe(metric).better:
            shade = style.MODEL_COLOURS["mvae"] if len(models) == 1 else "grey"
            ax.axvspan(0, better * limit, color=shade, alpha=0.08, linewidth=0)
        ax.axvline(0, color="black", linewidth=0.6)
        ax.set_yticks(range(len(sizes)), [f"z={z}" for z in sizes])
        unit = _short_unit(metric)
        ax.set(
            xlim=(-limit, limit),
            ylim=(len(sizes) - 0.5, -0.5),
            title=describe(metric).heading,
            xlabel=f"{of} - {baseline}" + (f" ({unit})" if unit else ""),
        )
        ax.locator_params(axis="x", nbins=4)
    if len(models) > 1:
        style.legend(figure, max(axes, key=lambda ax: len({*ax.get_legend_handles_labels()[1]})))
    return figure


def training_curves(table: Table) -> Figure | None:
    """Draw the training ELBO by epoch, one panel per z, a band over the seeds."""
    curves = {cell: read_curves(run).dropna() for cell, run in table.cells.items()}
    curves = {cell: curve for cell, curve in curves.items() if len(curve) > 1}
    sizes = sorted({cell.latent_size for cell in curves})
    if not sizes:
        return None
    figure, axes = style.panels(len(sizes), 3, 1.9)
    for z, ax in zip(sizes, axes, strict=True):
        low, high = math.inf, -math.inf
        for cell, elbo in curves.items():
            if cell.latent_size != z:
                continue
            colour = style.colour(cell.model, table.models)
            ax.plot(elbo.index, elbo.mean(axis=1), color=colour, label=style.label(cell.model))
            least, most = elbo.min(axis=1), elbo.max(axis=1)
            ax.fill_between(elbo.index, least, most, color=colour, alpha=0.25, linewidth=0)
            settled = elbo.iloc[len(elbo) // 10 :]  # the first epochs would flatten the rest
            low, high = min(low, settled.min(axis=None)), max(high, settled.max(axis=None))
        margin = 0.05 * (high - low + 1e-9)
        ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        ax.set(title=f"z={z}", xlabel="epoch", ylabel="training ELBO (nats)")
        ax.set_ylim(low - margin, high + margin)
    style.legend(figure, max(axes, key=lambda ax: len(ax.lines)))
    return figure


def reliability(table: Table) -> Figure | None:
    """Draw accuracy against confidence of the probe, one panel per z.

    Reads `curves.reliability` of each replicate in metrics.json: `examples`, `confidence` and
    `accuracy` per bin, null where a bin is empty.
    """
    found = {cell: bins for cell, run in table.cells.items() if (bins := _bins(run)).size}
    sizes = sorted({cell.latent_size for cell in found})
    if not sizes:
        return None
    figure, axes = style.panels(len(sizes), 4, 2.1)
    figure.set_figwidth(style.WIDTH * min(len(sizes), 4) / 4 + 0.3)
    for z, ax in zip(sizes, axes, strict=True):
        ax.plot((0, 1), (0, 1), color="grey", linewidth=0.6, linestyle="--")
        for cell, bins in found.items():
            if cell.latent_size != z:
                continue
            _, confidence, accuracy = bins[:, bins[0] >= FEW]
            ax.plot(confidence, accuracy, clip_on=False, **style.line(cell.model, table.models))
        ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", title=f"z={z}")
        ax.set(xlabel="confidence", ylabel="accuracy")
    style.legend(figure, max(axes, key=lambda ax: len(ax.lines)))
    return figure


def read_curves(run: Run) -> pd.DataFrame:
    """Return the training ELBO, a row per epoch and a column per seed that did not fail.

    It is NaN where an epoch of a seed has none, and without columns where there is no log.
    """
    trained = run_folder.read_manifest(run.path)["replicates"]
    curves: dict[int, pd.Series] = {}
    for seed in run.seeds:
        name = run.replicates[seed]
        path = run.path / "logs" / f"{name}.jsonl"
        if os.path.lexists(path):
            lines = run_folder.read_epochs(path, trained.get(name, {}).get("log"))
            elbos = {line["epoch"]: line.get("elbo") for line in lines}
            curve = pd.Series(elbos, dtype=float)
            curves[seed] = curve[np.isfinite(curve)]
    return pd.DataFrame({seed: curve for seed, curve in curves.items() if len(curve)})


def _bins(run: Run) -> Float[np.ndarray, "3 bins"]:
    """Return the bins' count, mean confidence and accuracy, of all seeds together."""
    if not run.path.is_dir():  # of an archive
        return np.empty((3, 0))
    names = {run.replicates[seed] for seed in run.seeds}
    entries = read_metrics(run.path, run.config)["replicates"]
    curves = [e.get("curves", {}).get("reliability") for e in entries if e["replicate"] in names]
    fields = ("examples", "confidence", "accuracy")
    bins = np.array([[curve[field] for field in fields] for curve in curves if curve], float)
    if not len(bins):
        return np.empty((3, 0))
    count = bins[:, :1]
    return np.concatenate([count.sum(0), np.nansum(count * bins[:, 1:], 0) / count.sum(0).clip(1)])


def _short_unit(metric: str) -> str:
    """Return the unit alone; how a metric is computed stands in the tables."""
    unit = describe(metric).unit
    return "nats" if "nats" in unit else "per pixel" if "per pixel" in unit else ""
