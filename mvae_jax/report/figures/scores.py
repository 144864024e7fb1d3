"""Figures of scores: metrics against z, paired differences, training, reliability."""

import math
import os

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mvae_jax.report.cells import Run, read_metrics
from mvae_jax.report.figures import style
from mvae_jax.report.figures.table import Table
from mvae_jax.report.metrics import PAPER, describe
from mvae_jax.report.pairs import models_of
from mvae_jax.report.statistics import ALPHA
from mvae_jax.store import run_folder

SHOWN = ("elbo", *PAPER)
FEW = 10  # examples of a bin below which its accuracy says nothing


def metrics_against_latent_size(table: Table) -> Figure | None:
    """Draw each metric's mean and 95% interval over z, with published points."""
    shown = [m for m in SHOWN if any(table.scores.has(cell, m) for cell in table.cells)]
    sizes = sorted({cell.latent_size for cell in table.cells})
    if not shown or len(sizes) < 2:
        return None
    models = models_of(table.cells)
    figure, axes = style.panels(len(shown), 4, 1.75)
    for metric, ax in zip(shown, axes, strict=True):
        for model in models:
            _draw_means(ax, table, metric, model, models, sizes)
        style.latent_axis(ax, sizes)
        ax.set_title(describe(metric).heading)
        ax.set_ylabel(_short_unit(metric))
    if any(line.get_marker() == "x" for ax in axes for line in ax.lines):
        axes[0].plot([], [], "x", color="grey", label="published")
    style.legend(figure, axes[0])
    return figure


def _draw_means(
    ax: Axes, table: Table, metric: str, model: str, models: list[str], sizes: list[int]
) -> None:
    """Draw one model's means over z, a little beside those of the other models."""
    shift = 0.02 * len(sizes) * (models.index(model) - len(models) / 2 + 0.5)
    colour = style.colour(model, models)
    of_model = [cell for cell in table.cells if cell.model == model]
    means = {cell: table.scores.summary(cell, metric) for cell in of_model}
    known = {sizes.index(cell.latent_size): s for cell, s in means.items() if s}
    ax.errorbar(
        [index + shift for index in known],
        [s.mean for s in known.values()],
        [(s.interval[1] - s.interval[0]) / 2 if s.interval else 0 for s in known.values()],
        color=colour,
        marker=style.MARKERS.get(model, "^"),
        markersize=3,
        capsize=2,
        label=style.label(model),
    )
    points = {
        sizes.index(cell.latent_size): point
        for cell in of_model
        if (point := table.point(metric, cell)) is not None
    }
    if points:
        ax.plot(*zip(*points.items(), strict=True), "x", color=colour, markersize=5)


def paired_differences(table: Table) -> Figure | None:
    """Draw a forest plot per metric: rows z, each model less the baseline, 95% intervals."""
    frame = table.compared.frame
    shown_here = frame.cell.isin([*table.cells]) & frame.metric.isin(SHOWN)
    found = frame[shown_here & frame.low95.notna()]
    if found.empty:
        return None
    sizes = sorted({*found.latent_size})
    shown = [metric for metric in SHOWN if metric in {*found.metric}]
    models = [model for model in models_of(table.cells) if model in {*found.model}]
    height = 0.75 + 0.16 * len(sizes) * len(models)
    figure, axes = style.panels(len(shown), 4, height, sharey=True)
    for metric, ax in zip(shown, axes, strict=True):
        of_metric = found[found.metric == metric]
        _draw_differences(ax, of_metric, models_of(table.cells), models, sizes)
        low, high = ax.get_xlim()
        limit = max(abs(low), abs(high))
        ax.set_xlim(-limit, limit)
        if better := describe(metric).better:
            shade = style.MODEL_COLOURS["mvae"] if len(models) == 1 else "grey"
            ax.axvspan(0, better * limit, color=shade, alpha=0.08, linewidth=0)
        ax.axvline(0, color="black", linewidth=0.6)
        ax.set_yticks(range(len(sizes)), [f"z={z}" for z in sizes])
        ax.set_ylim(len(sizes) - 0.5, -0.5)
        ax.set_title(describe(metric).heading)
        of = models[0] if len(models) == 1 else "model"
        baseline = style.label(table.compared.baseline)
        unit = _short_unit(metric)
        ax.set_xlabel(f"{style.label(of)} - {baseline}" + (f" ({unit})" if unit else ""))
        ax.locator_params(axis="x", nbins=4)
    if len(models) > 1:
        style.legend(figure, max(axes, key=lambda ax: len(ax.get_legend_handles_labels()[0])))
    return figure


def _draw_differences(
    ax: Axes, found: pd.DataFrame, all_models: list[str], models: list[str], sizes: list[int]
) -> None:
    """Draw one metric's intervals; filled marks are significant."""
    for row in found.itertuples():
        place = (models.index(row.model) + 0.5) / len(models) - 0.5
        y = sizes.index(row.latent_size) + 0.8 * place
        colour = style.colour(row.model, all_models)
        ax.plot((row.low95, row.high95), (y, y), color=colour)
        face = colour if row.p_holm < ALPHA else "white"
        mark = style.MARKERS.get(row.model, "^")
        is_first = row.latent_size == found.latent_size[found.model == row.model].iloc[0]
        label = style.label(row.model) if is_first else None
        ax.plot(row.difference, y, mark, color=colour, mfc=face, markersize=4, label=label)


def training_curves(table: Table) -> Figure | None:
    """Draw the training ELBO by epoch, one panel per z, a band over the seeds."""
    curves = {cell: read_curves(run) for cell, run in table.cells.items()}
    # Of one epoch there is no curve.
    curves = {
        cell: by_seed
        for cell, by_seed in curves.items()
        if max(map(len, by_seed.values()), default=0) > 1
    }
    sizes = sorted({cell.latent_size for cell in curves})
    if not sizes:
        return None
    models = models_of(table.cells)
    figure, axes = style.panels(len(sizes), 3, 1.9)
    for z, ax in zip(sizes, axes, strict=True):
        settled = []
        for cell, by_seed in curves.items():
            if cell.latent_size != z:
                continue
            epochs = sorted(set.intersection(*map(set, by_seed.values())))
            if not epochs:
                continue
            elbo = np.array([[curve[epoch] for epoch in epochs] for curve in by_seed.values()])
            colour = style.colour(cell.model, models)
            ax.plot(epochs, elbo.mean(axis=0), color=colour, label=style.label(cell.model))
            ax.fill_between(epochs, elbo.min(0), elbo.max(0), color=colour, alpha=0.25, linewidth=0)
            settled.append(elbo[:, len(epochs) // 10 :])
        # The first epochs would flatten the rest.
        low, high = min(map(np.min, settled)), max(map(np.max, settled))
        ax.set_ylim(low - 0.05 * (high - low + 1e-9), high + 0.05 * (high - low + 1e-9))
        ax.set_title(f"z={z}")
        ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        ax.set_xlabel("epoch")
        ax.set_ylabel("training ELBO (nats)")
    style.legend(figure, max(axes, key=lambda ax: len(ax.lines)))
    return figure


def reliability(table: Table) -> Figure | None:
    """Draw accuracy against confidence of the probe, one panel per z.

    Reads `curves.reliability` of each replicate in metrics.json: `examples`, `confidence` and
    `accuracy` per bin, null where a bin is empty.
    """
    found = {cell: _reliability_bins(run) for cell, run in table.cells.items()}
    found = {cell: bins for cell, bins in found.items() if bins is not None}
    sizes = sorted({cell.latent_size for cell in found})
    if not sizes:
        return None
    models = models_of(table.cells)
    figure, axes = style.panels(len(sizes), 4, 2.1)
    figure.set_figwidth(style.WIDTH * min(len(sizes), 4) / 4 + 0.3)
    for z, ax in zip(sizes, axes, strict=True):
        ax.plot((0, 1), (0, 1), color="grey", linewidth=0.6, linestyle="--")
        for cell, bins in found.items():
            if cell.latent_size == z and bins is not None:
                count, confidence, accuracy = bins
                filled = count >= FEW
                ax.plot(
                    confidence[filled],
                    accuracy[filled],
                    color=style.colour(cell.model, models),
                    marker=style.MARKERS.get(cell.model, "^"),
                    markersize=3,
                    label=style.label(cell.model),
                    clip_on=False,
                )
        ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", title=f"z={z}")
        ax.set_xlabel("confidence")
        ax.set_ylabel("accuracy")
    style.legend(figure, max(axes, key=lambda ax: len(ax.lines)))
    return figure


def read_curves(run: Run) -> dict[int, dict[int, float]]:
    """Return, per seed that did not fail, the training ELBO by epoch; empty without a log."""
    trained = run_folder.read_manifest(run.path)["replicates"]
    curves: dict[int, dict[int, float]] = {}
    for seed, name in run.replicates.items():
        path = run.path / "logs" / f"{name}.jsonl"
        if seed in run.failed or not os.path.lexists(path):
            continue
        lines = run_folder.read_epochs(path, trained.get(name, {}).get("log"))
        elbos = {line["epoch"]: line.get("elbo") for line in lines}
        curve = {e: float(v) for e, v in elbos.items() if v is not None and math.isfinite(v)}
        if curve:
            curves[seed] = curve
    return curves


def _reliability_bins(run: Run) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Return the bins' count, mean confidence and accuracy, of all seeds together."""
    names = {name for seed, name in run.replicates.items() if seed not in run.failed}
    if not run.path.is_dir():  # of an archive
        return None
    entries = read_metrics(run.path, run.config)["replicates"]
    entries = [entry for entry in entries if entry["replicate"] in names]
    curves = [entry.get("curves", {}).get("reliability") for entry in entries]
    sums = [
        np.nan_to_num(np.array([c["examples"], c["confidence"], c["accuracy"]], dtype=float))
        for c in curves
        if c
    ]
    if not sums:
        return None
    count = sum(bins[0] for bins in sums)
    weight = np.maximum(count, 1)
    confidence, accuracy = (sum(bins[0] * bins[i] for bins in sums) / weight for i in (1, 2))
    return np.asarray(count), np.asarray(confidence), np.asarray(accuracy)


def _short_unit(metric: str) -> str:
    """Return the unit alone; how a metric is computed stands in the tables."""
    unit = describe(metric).unit
    return "nats" if "nats" in unit else "per pixel" if "per pixel" in unit else ""
