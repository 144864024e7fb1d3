"""A report in a few sentences, and the runs behind it."""

from collections import Counter
from collections.abc import Iterable, Sequence

from mvae_jax.report import reproduction
from mvae_jax.report.audit import Finding
from mvae_jax.report.cells import likelihood
from mvae_jax.report.claims import CELLS
from mvae_jax.report.comparisons import Comparisons
from mvae_jax.report.formats import Grid
from mvae_jax.report.metrics import describe
from mvae_jax.report.reproduction import Figure
from mvae_jax.report.runs import BASELINE, MODEL, Runs

NUM_CELLS = 2 * len(CELLS)


def sentences(found: Runs, compared: Comparisons, claims: Sequence[Finding]) -> list[str]:
    """Returns what a reader takes away: coverage, agreement, differences, claims."""
    figures = reproduction.figures(found)
    parts = (_coverage(found, figures), _agreement(figures), _differences(compared))
    return [*filter(None, parts), *_verdicts(claims)]


def _coverage(found: Runs, figures: list[Figure]) -> str:
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
    inside = sum(bool(f.inside) for f in judged)
    return (
        f"{inside} of {len(judged)} released figures ({inside / len(judged):.0%}) lie inside our "
        "95% prediction interval for one new seed, where images, probe and epochs are the "
        "release's."
    )


def _differences(compared: Comparisons) -> str:
    if not compared.found:
        return ""
    better = Counter(
        MODEL if c.comparison.difference.mean * describe(metric).better > 0 else BASELINE
        for (metric, *_), c in compared.found.items()
        if c.significant
    )
    return (
        f"MVAE and VAE were compared in {len(compared.found)} figures, paired by seed. After "
        f"Holm's correction {better[MODEL]} differences favour MVAE and {better[BASELINE]} VAE; "
        "the others are not shown to differ."
    )


def _verdicts(claims: Sequence[Finding]) -> list[str]:
    lines = []
    for body in claims[0].verdicts:
        counts = Counter(finding.verdicts[body].verdict for finding in claims)
        said = ", ".join(f"{number} {verdict}" for verdict, number in sorted(counts.items()))
        lines.append(f"The paper's {len(claims)} claims, on the evidence of {body}: {said}.")
    return lines


def what_was_run(found: Runs) -> Grid:
    """Returns the runs; those that differ in their latent size alone share a row."""
    rows: dict[tuple[str, ...], list[int]] = {}
    versions: set[str] = set()
    for (setting, z, model), scores in found.cells.items():
        if scores.missing:
            continue
        config, environment = scores.config, scores.environment
        mean = "C m(x)" if config.get("couple_mean") else "m(x)"
        row = (
            *(str(setting), model, str(len(scores.replicates) - len(scores.failed))),
            *(str(config.get("num_epochs", "-")), likelihood(config)),
            mean if "couple_mean" in config and model == MODEL else "-",
            *(", ".join(sorted(set(environment.get("devices", ["-"])))),),
            *(environment.get("processor", "-"), str(environment.get("git_revision"))[:10]),
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


def not_run(found: Runs) -> dict[str, list[str]]:
    """Returns, per model and data set, the paper's latent sizes that no run of ours fills.

    Of the release protocol.
    """
    done = {
        (cell.setting.dataset, cell.latent_size, cell.model)
        for cell, scores in found.cells.items()
        if cell.setting.protocol == "release" and not cell.setting.variant and not scores.missing
    }
    missing: dict[str, list[str]] = {}
    for dataset, z in CELLS:
        for model in (BASELINE, MODEL):
            if (dataset, z, model) not in done:
                missing.setdefault(f"{model} on {dataset}", []).append(str(z))
    return missing


def _joined(values: Iterable[object]) -> str:
    """Returns values as a list in a sentence or a cell."""
    return ", ".join(map(str, values))
