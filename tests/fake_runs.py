"""Run folders without training, for the tests of the report."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mvae_jax.paper import audit, document
from mvae_jax.paper.study import STUDY
from mvae_jax.report import writing
from mvae_jax.report.figures.table import Table
from mvae_jax.report.problems import Problem, isolated
from mvae_jax.report.study import Report, Study

PAPER = ("mse", "probe_accuracy", "probe_nll", "brier", "ece", "nmi", "ari")
SETTINGS: dict[str, list[str]] = {"settings": []}
SEEDS = (777, 778, 779, 780, 781)


def draw(mean: float, sd: float, seeds=SEEDS, rng=0) -> dict[int, float]:
    """Seed -> a normal value."""
    generator = np.random.default_rng(rng)
    return {seed: float(generator.normal(mean, sd)) for seed in seeds}


def write_run(
    root: Path,
    model: str,
    latent_size: int,
    values: Mapping[str, Mapping[int, float]],
    *,
    dataset: str = "digits",
    failed: Mapping[int, str] | None = None,
    unscored: Mapping[int, str] | None = None,
    absent: Mapping[str, str] | None = None,
    version: int = 1,
    num_test: int = 100,
    folder: str = "",
    **config: Any,
) -> Path:
    """Writes config.json and metrics.json of one run; returns its folder.

    `failed` seeds diverged in training, `unscored` ones have embeddings that cannot be read.

    The paper's metrics that `values` lacks are filled with one plausible value per seed.
    """
    config = {
        "dataset": dataset,
        "source": "",
        "protocol": "release",
        "model": model,
        "latent_size": latent_size,
        "num_epochs": 200,
        **config,
    }
    stem = Path(dataset).stem
    run = root / (folder or f"{stem}/{config['protocol']}/{model}-z{latent_size}")
    failed, absent = failed or {}, absent or {}
    seeds = sorted({seed for of_metric in values.values() for seed in of_metric})
    filled = {m: {s: 0.5 + 0.01 * (s % 7) for s in seeds} for m in PAPER if m not in absent}
    filled |= values
    entries: list[dict[str, Any]] = [
        {
            "replicate": f"seed_{seed}",
            "seed": seed,
            "sha256": "0" * 64,
            "num_test": num_test,
            "values": [
                {"metric": m, "value": of[seed], "seed": seed, "split": "test", "n": 100} | SETTINGS
                for m, of in filled.items()
                if seed in of
            ],
            "absent": [{"metric": m, "reason": reason} for m, reason in absent.items()],
        }
        for seed in seeds
    ]
    diverged = {f"seed_{s}": {"seed": s, "failed": r} for s, r in failed.items()}
    entries += [{"replicate": name, **entry} for name, entry in diverged.items()]
    entries += [{"replicate": f"seed_{s}", "failed": r} for s, r in (unscored or {}).items()]
    described = {key: config[key] for key in ("dataset", "source", "protocol", "model")}
    metrics = {"version": version, **described, "latent_size": latent_size, "settings": {}}
    (run / "embeddings").mkdir(parents=True)
    (run / "config.json").write_text(json.dumps(config))
    (run / "manifest.json").write_text(json.dumps({"replicates": diverged, "sha256": {}}))
    (run / "metrics.json").write_text(json.dumps(metrics | {"replicates": entries}))
    return run


def read_report(root: Path, study: Study = STUDY) -> Report:
    """What a report on the runs below the root is made of."""
    return writing.read(root, None, study)[0]


def comparison(compared, metric: str, cell) -> Any:
    """The row of a cell's comparison with the baseline."""
    frame = compared.frame[compared.frame.metric == metric]
    (row,) = frame[frame.cell == cell].itertuples()
    return row


def table_of(report: Report, study: Study = STUDY) -> Table:
    """All runs of a report as the figures take them."""
    return Table(report.scores.cells, report.scores, report.compared, study.point)


def write_paper(root: Path, out: Path, page: Path | None = None, **options: Any) -> bool:
    """Writes the report with the paper's sections, and the page; returns whether it is complete."""

    def write_page(report: Report, drawn: list[Any], problems: list[Problem]) -> None:
        with isolated(problems, str(page)):
            document.write(page, report, drawn, audit.findings(report.scores))

    study = STUDY._replace(finish=write_page) if page else STUDY
    return writing.render(root, out, study=study, **options)
