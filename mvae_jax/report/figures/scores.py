"""Figures of scores: metrics against z, paired differences, training, reliability."""

import math
import os
from collections import defaultdict

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mvae_jax.paper import reference
from mvae_jax.report.cells import Cells, Scores, read_metrics
from mvae_jax.report.comparisons import Compared, Comparisons
from mvae_jax.report.figures import style
from mvae_jax.report.metrics import PAPER, describe
from mvae_jax.report.runs import models_of
from mvae_jax.report.statistics import summarise
from mvae_jax.store import run_folder

SHOWN = ("elbo", *PAPER)
FEW = 10  # examples of a bin below which its accuracy says nothing


def metrics_against_latent_size(cells: Cells, _comparisons: Comparisons) -> Figure | None:
    """Draws each metric's mean and 95% interval over z, with the released points."""
    shown = [m for m in SHOWN if any(m in s.values for s in cells.values())]
    sizes = sorted({cell.latent_size for cell in cells})
    if not shown or len(sizes) < 2:
        return None
    models = models_of(cells)
    apart = 0.02 * len(sizes)  # between two models at one z
    setting = next(iter(cells)).setting
    release = reference.release() if setting.protocol == "release" else {}
    figure, axes = style.panels(len(shown), 4, 1.75)
    for metric, ax in zip(shown, axes, strict=True):
        for shift, model in enumerate(models):
            colour = style.colour(model, models)
            here = [
                (
                    sizes.index(c.latent_size) + apart * (shift - len(models) / 2 + 0.5),
                    s,
                )
                for c, s in cells.items()
                if c.model == model and not s.why_missing(metric)
            ]
            means = [summarise(list(s.values[metric].values())) for _, s in here]
            errors = [(s.interval[1] - s.interval[0]) / 2 if s.interval else 0 for s in means]
            ax.errorbar(
                [x for x, _ in here],
                [s.mean for s in means],
                errors,
                color=colour,
                marker=style.MARKERS.get(model, "^"),
                markersize=3,
                capsize=2,
                label=style.label(model),
            )
            released = {
                index: float(release[key])
                for index, z in enumerate(sizes)
                if (key := reference.Key(metric, setting.dataset, z, model)) in release
            }
            if released:
                ax.plot(*zip(*released.items(), strict=True), "x", color=colour, markersize=5)
        style.latent_axis(ax, sizes)
        ax.set_title(describe(metric).heading)
        ax.set_ylabel(_short_unit(metric))
    if release and any(line.get_marker() == "x" for ax in axes for line in ax.lines):
        axes[0].plot([], [], "x", color="grey", label="author's release")
    style.legend(figure, axes[0])
    return figure


def paired_differences(cells: Cells, comparisons: Comparisons) -> Figure | None:
    """Draws a forest plot per metric: rows z, MVAE - VAE with its 95% interval."""
    found: dict[str, dict[int, Compared]] = defaultdict(dict)
    for metric in SHOWN:
        for cell in cells:
            compared = comparisons.found.get((metric, cell.setting, cell.latent_size))
            if compared is not None and compared.comparison.difference.interval:
                found[metric][cell.latent_size] = compared
    if not found:
        return None
    sizes = sorted({z for of_metric in found.values() for z in of_metric})
    shown = [metric for metric in SHOWN if metric in found]
    height = 0.75 + 0.16 * len(sizes)
    figure, axes = style.panels(len(shown), 4, height, sharey=True)
    colour = style.MODEL_COLOURS["mvae"]
    for metric, ax in zip(shown, axes, strict=True):
        for z, compared in found[metric].items():
            difference, y = compared.comparison.difference, sizes.index(z)
            assert difference.interval is not None
            ax.plot(difference.interval, (y, y), color=colour)
            face = colour if compared.significant else "white"
            ax.plot(difference.mean, y, "s", color=colour, markerfacecolor=face, markersize=4)
        low, high = ax.get_xlim()
        limit = max(abs(low), abs(high))
        ax.set_xlim(-limit, limit)
        better = describe(metric).better
        if better:
            ax.axvspan(0, better * limit, color=colour, alpha=0.08, linewidth=0)
        ax.axvline(0, color="black", linewidth=0.6)
        ax.set_yticks(range(len(sizes)), [f"z={z}" for z in sizes])
        ax.set_ylim(len(sizes) - 0.5, -0.5)
        ax.set_title(describe(metric).heading)
        ax.set_xlabel(f"mvae - vae{_in_brackets(_short_unit(metric))}")
        ax.locator_params(axis="x", nbins=4)
    return figure


def training_curves(cells: Cells, _comparisons: Comparisons) -> Figure | None:
    """Draws the training ELBO by epoch, one panel per z, a band over the seeds."""
    curves = {cell: read_curves(scores) for cell, scores in cells.items()}
    # Of one epoch there is no curve.
    curves = {
        cell: by_seed
        for cell, by_seed in curves.items()
        if max(map(len, by_seed.values()), default=0) > 1
    }
    sizes = sorted({cell.latent_size for cell in curves})
    if not sizes:
        return None
    models = models_of(cells)
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


def reliability(cells: Cells, _comparisons: Comparisons) -> Figure | None:
    """Draws accuracy against confidence of the probe, one panel per z.

    Reads `curves.reliability` of each replicate in metrics.json: `examples`, `confidence` and
    `accuracy` per bin, null where a bin is empty.
    """
    found = {cell: _reliability_bins(scores) for cell, scores in cells.items()}
    found = {cell: bins for cell, bins in found.items() if bins is not None}
    sizes = sorted({cell.latent_size for cell in found})
    if not sizes:
        return None
    models = models_of(cells)
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


def read_curves(scores: Scores) -> dict[int, dict[int, float]]:
    """Return, per seed that did not fail, the training ELBO by epoch; empty without a log."""
    trained = run_folder.read_manifest(scores.run)["replicates"]
    curves: dict[int, dict[int, float]] = {}
    for seed, name in scores.replicates.items():
        path = scores.run / "logs" / f"{name}.jsonl"
        if seed in scores.failed or not os.path.lexists(path):
            continue
        lines = run_folder.read_epochs(path, trained.get(name, {}).get("log"))
        elbos = {line["epoch"]: line.get("elbo") for line in lines}
        curve = {e: float(v) for e, v in elbos.items() if v is not None and math.isfinite(v)}
        if curve:
            curves[seed] = curve
    return curves


def _reliability_bins(scores: Scores) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Returns the bins' count, mean confidence and accuracy, of all seeds together."""
    names = {name for seed, name in scores.replicates.items() if seed not in scores.failed}
    entries = read_metrics(scores.run, scores.config)["replicates"]
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
    """Returns the unit alone; how a metric is computed stands in the tables."""
    unit = describe(metric).unit
    return "nats" if "nats" in unit else "per pixel" if "per pixel" in unit else ""


def _in_brackets(unit: str) -> str:
    return f" ({unit})" if unit else ""
