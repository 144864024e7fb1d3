"""MVAE against VAE, cell by cell: which differences are there, and which are real."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from mvae_jax import config as config_lib
from mvae_jax.paper.cells import CELLS
from mvae_jax.paper.reproduction import is_short
from mvae_jax.report import provenance
from mvae_jax.report.cells import Cell, Scores, Setting
from mvae_jax.report.formats import Bold, Grid
from mvae_jax.report.metrics import CONDITIONS, METRICS, describe
from mvae_jax.report.problems import Problem
from mvae_jax.report.runs import BASELINE, MODEL, Runs
from mvae_jax.report.statistics import ALPHA, Comparison, compare, holm, sign_test

# Fields in which a pair may differ besides the harmless ones: what makes the model, what the table
# and its row say already, what pairs the seeds, how they share a program, which changes rounding
# alone, and what `unlike_bounds` compares.
FREE = frozenset(
    {
        *config_lib.HARMLESS,
        *config_lib.PATHS,
        *("model", "posterior", "couple_mean"),
        *("source", "protocol", "latent_size"),
        *("num_seeds", "first_seed", "sweep", "seed_mode"),
        "iwae_samples",
    }
)


class Compared(NamedTuple):
    """One cell's comparison, MODEL - BASELINE; p_holm is None below two seeds."""

    comparison: Comparison
    p_holm: float | None
    family: int  # the number of cells that Holm's correction ran over

    @property
    def significant(self) -> bool:
        """Whether the difference stands after the correction."""
        return self.p_holm is not None and self.p_holm < ALPHA


Place = tuple[str, Setting, int]  # metric, table, latent size


class Comparisons(NamedTuple):
    """All comparisons of a report, and the runs that one would need to compare more."""

    found: dict[Place, Compared]
    missing: dict[Setting, list[str]]

    @property
    def problems(self) -> list[Problem]:
        """The missing runs, as problems of the report."""
        return [
            Problem(str(setting), reason)
            for setting, reasons in self.missing.items()
            for reason in reasons
        ]


def compare_all(runs: Runs) -> Comparisons:
    """Compares every pair of cells in every metric that both have.

    Holm's correction runs over one metric's cells: all of the paper's in one protocol, those of
    fewer epochs than the paper's apart. Other data sets and latent sizes are a family each.
    """
    raw: dict[Place, Comparison] = {}
    missing: dict[Setting, list[str]] = defaultdict(list)
    for setting, z in _places(runs):
        models = {m: runs.cells.get(Cell(setting, z, m)) for m in (BASELINE, MODEL)}
        for model, scores in models.items():
            if scores is None:
                missing[setting].append(f"z={z}: no run of {model}")
        differ = unlike(*models.values())
        if differ:
            missing[setting].append(f"z={z}: not compared, trained differently: {differ}")
            continue
        for metric, (x, y) in paired(*models.values()):
            raw[metric, setting, z] = compare(x, y)
        if differ := unlike_bounds(*models.values()):
            missing[setting].append(f"z={z}: iwae not compared, {differ}")
    families = defaultdict(list)
    for place, comparison in raw.items():
        if comparison.p_t is not None:
            metric, setting, z = place
            ours = "" if (setting.dataset, z) in CELLS else setting.dataset
            short = is_short(runs.cells[Cell(setting, z, MODEL)].config)
            families[metric, setting.protocol, setting.variant, ours, short].append(place)
    found = {place: Compared(comparison, None, 0) for place, comparison in raw.items()}
    for places in families.values():
        adjusted = holm(np.array([raw[place].p_t for place in places], float))
        for place, p in zip(places, adjusted, strict=True):
            found[place] = Compared(raw[place], float(p), len(places))
    return Comparisons(found, dict(missing))


def unlike(vae: Scores | None, mvae: Scores | None) -> str:
    """Return in what the training of a pair differs beyond the model; empty where it may not."""
    if vae is None or mvae is None:
        return ""
    vaes, mvaes = (_with_defaults(scores.config) for scores in (vae, mvae))
    fields = sorted((vaes.keys() | mvaes.keys()) - FREE)
    pairs = [(field, vaes.get(field), mvaes.get(field)) for field in fields]
    differing = [f"{field} is {x!r} and {y!r}" for field, x, y in pairs if x != y]
    return ", ".join([*differing, *provenance.settings_apart(vae, mvae)])


def _with_defaults(config: dict[str, Any]) -> dict[str, Any]:
    """Return a run's configuration with the default of every field that is newer than the run.

    A run of another tool, which has no data_sha256, is taken at its word.
    """
    if "data_sha256" not in config:
        return config
    return json.loads(config_lib.base_config("", "vae,1").to_json()) | config


def unlike_bounds(vae: Scores | None, mvae: Scores | None) -> str:
    """Returns the K of each model's importance-weighted bound where they differ."""
    if vae is None or mvae is None:
        return ""
    ks = [sorted({int(k) for k in s.values.get("iwae_k", {}).values()}) for s in (vae, mvae)]
    return f"K is {ks[0]} and {ks[1]}" if all(ks) and ks[0] != ks[1] else ""


def paired(
    vae: Scores | None, mvae: Scores | None
) -> Iterator[tuple[str, tuple[dict[int, float], dict[int, float]]]]:
    """Yields the metrics that both cells have, with their values on the same seeds.

    A seed that failed in one of them is left out of both; so are bounds of unlike K.
    """
    if vae is None or mvae is None or vae.missing or mvae.missing:
        return
    seeds = vae.replicates.keys() - vae.failed.keys() - mvae.failed.keys()
    left_out = {*CONDITIONS, *(["iwae"] if unlike_bounds(vae, mvae) else [])}
    for metric in vae.values if seeds else ():
        if metric in left_out:
            continue
        if metric in mvae.values and not vae.why_missing(metric) + mvae.why_missing(metric):
            x, y = vae.values[metric], mvae.values[metric]
            yield metric, ({s: x[s] for s in seeds}, {s: y[s] for s in seeds})


def _places(runs: Runs) -> list[tuple[Setting, int]]:
    """Returns the rows of the tables that hold runs of both models, somewhere."""
    models = defaultdict(set)
    for cell in runs.cells:
        models[cell.setting].add(cell.model)
    return sorted(
        {
            (cell.setting, cell.latent_size)
            for cell in runs.cells
            if cell.model in (BASELINE, MODEL) and {BASELINE, MODEL} <= models[cell.setting]
        }
    )


# --- as tables ---------------------------------------------------------------------------------


def _by_metric(found: dict[Place, Compared]) -> dict[tuple[str, str], dict[Place, Compared]]:
    """Groups by metric and protocol, the metrics in their usual order."""
    order = [*METRICS, *sorted({metric for metric, _, _ in found} - METRICS.keys())]
    groups: dict[tuple[str, str], dict[Place, Compared]] = defaultdict(dict)
    for place in sorted(found, key=lambda place: (order.index(place[0]), place[1:])):
        metric, setting, _ = place
        protocol = ", ".join(filter(None, [setting.protocol, setting.variant]))
        groups[metric, protocol][place] = found[place]
    return groups


def overview(comparisons: Comparisons) -> Grid:
    """Returns one row per metric: wins, ties and losses over cells, and how many are real."""
    rows = []
    for (metric, protocol), group in _by_metric(comparisons.found).items():
        better = describe(metric).better
        if not better:
            continue
        gains = [c.comparison.difference.mean * better for c in group.values()]
        test = sign_test(np.array(gains))
        real = [c.comparison.difference.mean * better > 0 for c in group.values() if c.significant]
        smallest = max(c.comparison.smallest_p or 1.0 for c in group.values())
        rows.append(
            (
                describe(metric).label,
                protocol,
                str(len(group)),
                f"{test.wins} / {test.ties} / {test.losses}",
                format_p(test.p),
                f"{sum(real)} / {len(real) - sum(real)}",
                format_p(smallest),
            )
        )
    headers = ("metric", "protocol", "cells", "mvae wins / ties / losses", "sign test p")
    return Grid(
        "MVAE against VAE over cells",
        (*headers, "significant for mvae / vae", "smallest p of a sign flip"),
        rows,
        notes=[
            "A win is a cell (one data set, one latent size) whose mean over seeds is better. The "
            "sign test's unit is the cell; cells of one data set share its images, so that it is "
            "a summary and no proof.",
            "Significant: paired t-test over seeds, Holm's correction over the metric's cells of "
            f"the paper's tables that were run, at {ALPHA:.2g}. Cells of other data sets and "
            "sizes are corrected among themselves, and so are those of fewer epochs.",
            "The last column is what a sign-flip permutation test over the seeds can reach at "
            "best; above the level, it can never confirm a cell by itself.",
        ],
        settings={setting for _, setting, _ in comparisons.found},
    )


def details(comparisons: Comparisons) -> Iterator[Grid]:
    """Yields one table per metric with every cell's comparison."""
    headers = ("data set", "z", "seeds", "difference", "95% interval", "effect size d_z")
    tests = ("t-test p", "after Holm", "cells of Holm", "sign-flip p", "smallest")
    for (metric, protocol), group in _by_metric(comparisons.found).items():
        shown = describe(metric)
        rows = []
        for (_, setting, z), (c, p_holm, family) in group.items():
            interval = "-"
            if c.difference.interval:
                interval = " to ".join(
                    f"{end:+.{shown.decimals}f}" for end in c.difference.interval
                )
            effect = "-" if c.effect_size is None else f"{c.effect_size:+.2f}"
            mean = f"{c.difference.mean:+.{shown.decimals}f}"
            if p_holm is not None and p_holm < ALPHA:
                mean = Bold(mean)
            data = setting.dataset + (f" ({setting.source})" if setting.source else "")
            start = (data, str(z), str(c.difference.n), mean, interval, effect)
            of_t = (format_p(c.p_t), format_p(p_holm), str(family or "-"))
            rows.append((*start, *of_t, format_p(c.p_flip), format_p(c.smallest_p)))
        title = f"{shown.label}: mvae - vae, {protocol} protocol"
        yield Grid(title, (*headers, *tests), rows, settings={place[1] for place in group})


def records(comparisons: Comparisons) -> Iterable[dict[str, Any]]:
    """Yields the comparisons in full precision, one row each, for a CSV file."""
    for (metric, setting, z), (c, p_holm, family) in comparisons.found.items():
        low, high = c.difference.interval or (None, None)
        yield {
            **setting._asdict(),
            "latent_size": z,
            "metric": metric,
            "seeds": c.difference.n,
            "difference": c.difference.mean,
            "low95": low,
            "high95": high,
            "sd": c.difference.sd,
            "effect_size": c.effect_size,
            "p_t": c.p_t,
            "p_holm": p_holm,
            "family": family,
            "p_flip": c.p_flip,
            "smallest_p": c.smallest_p,
        }


def format_p(p: float | None) -> str:
    """Returns a p-value as it is printed."""
    if p is None:
        return "-"
    return "<0.0001" if p < 1e-4 else f"{p:.4f}"
