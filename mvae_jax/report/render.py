"""From metrics.json files to one table per run, as text, Markdown, LaTeX and CSV."""

import csv
import io
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from tabulate import tabulate

from mvae_jax import files
from mvae_jax.report.summary import Summary, summarise

VERSION = 1  # of metrics.json


class Shown(NamedTuple):
    """How a metric is called in tables; the arrow points to better values."""

    title: str
    decimals: int


METRICS = {
    "elbo": Shown("ELBO (nats) ↑", 2),
    "log_likelihood": Shown("log-likelihood (nats) ↑", 2),
    "kl": Shown("KL (nats)", 2),
    "elbo_release": Shown("ELBO, batch means (nats) ↑", 2),
    "mse": Shown("MSE, sampled z ↓", 5),
    "mse_mean": Shown("MSE, mean z ↓", 5),
    "probe_accuracy": Shown("probe accuracy ↑", 4),
    "probe_nll": Shown("probe NLL (nats) ↓", 4),
    "brier": Shown("Brier ↓", 4),
    "ece": Shown("ECE ↓", 4),
    "nmi": Shown("NMI ↑", 4),
    "ari": Shown("ARI ↑", 4),
}
HEADERS = ("metric", "mean", "sd over seeds", "95% interval of the mean", "seeds")


class Table(NamedTuple):
    """One run: a title, a summary per metric, and notes on what is missing and why."""

    title: str
    run: dict[str, Any]
    rows: dict[str, Summary]
    notes: list[str]


def render(paths: Iterable[Path], out: Path) -> bool:
    """Prints the tables and writes tables.{txt,md,tex,csv} to `out`.

    Returns whether nothing is missing: every run has metrics, and every replicate values.
    """
    runs = files.find_runs(paths)
    if not runs:
        print("error: path: no folder with embeddings/ there", file=sys.stderr)
        return False
    complete, tables = True, []
    for run in runs:
        try:
            table = tabulate_run(read_metrics(run / "metrics.json"))
        except ValueError as error:
            print(f"error: {error}", file=sys.stderr)
            complete = False
            continue
        complete &= not any("failed" in entry for entry in table.run["replicates"])
        tables.append(table)
    text = "\n".join(to_text(table) for table in tables)
    print(text, end="")
    files.write_text(out / "tables.txt", text)
    files.write_text(out / "tables.md", "\n".join(to_markdown(table) for table in tables))
    files.write_text(out / "tables.tex", "\n".join(to_latex(table) for table in tables))
    files.write_text(out / "tables.csv", to_csv(tables))
    return complete


def read_metrics(path: Path) -> dict[str, Any]:
    """Reads a metrics.json; raises ValueError where it is absent or of another version."""
    way_out = "run python -m mvae_jax.evaluate on the folder"
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: not readable ({error}); {way_out}") from error
    if not isinstance(found, dict) or found.get("version") != VERSION:
        raise ValueError(f"{path}: not of version {VERSION}; {way_out}")
    return found


def tabulate_run(run: dict[str, Any]) -> Table:
    """Summarises one run's metrics over the replicates that have values."""
    scored = [entry for entry in run["replicates"] if "values" in entry]
    values: dict[str, list[float]] = {}
    for entry in scored:
        for row in entry["values"]:
            values.setdefault(row["metric"], []).append(row["value"])
    rows = {metric: summarise(values[metric]) for metric in METRICS if metric in values}
    notes = [
        f"{e['replicate']} left out: {e['failed']}" for e in run["replicates"] if "failed" in e
    ]
    reasons = {(a["metric"], a["reason"]) for entry in scored for a in entry["absent"]}
    for reason in sorted({reason for _, reason in reasons}):
        absent = [metric for metric in METRICS if (metric, reason) in reasons]
        notes.append(f"absent: {', '.join(absent)} ({reason})")
    unconverged = len(scored) - sum(values.get("probe_converged", [1.0] * len(scored)))
    if unconverged:
        notes.append(f"{unconverged:.0f} of {len(scored)} probes did not converge")
    data = run["dataset"] + (f" ({run['source']})" if run.get("source") else "")
    title = f"{data}, {run['model']} z={run['latent_size']}, {run['protocol']} protocol, test split"
    return Table(title, run, rows, notes)


def cells(table: Table) -> list[tuple[str, ...]]:
    """Returns the table's rows as they are printed."""
    rows: list[tuple[str, ...]] = []
    for metric, summary in table.rows.items():
        title, decimals = METRICS[metric]
        sd = "-" if summary.sd is None else f"{summary.sd:.{decimals}f}"
        interval = "-"
        if summary.interval:
            interval = " to ".join(f"{end:.{decimals}f}" for end in summary.interval)
        rows.append((title, f"{summary.mean:.{decimals}f}", sd, interval, str(summary.n)))
    return rows


ALIGN = ("left", "right", "right", "center", "right")


def to_text(table: Table) -> str:
    """Returns the table for a terminal."""
    grid = tabulate(cells(table), HEADERS, "simple", disable_numparse=True, colalign=ALIGN)
    return "\n".join([table.title, "", grid, *table.notes, ""])


def to_markdown(table: Table) -> str:
    """Returns the table in Markdown."""
    grid = tabulate(cells(table), HEADERS, "github", disable_numparse=True, colalign=ALIGN)
    return "\n".join([f"### {table.title}", "", grid, "", *(f"- {n}" for n in table.notes), ""])


def to_latex(table: Table) -> str:
    """Returns the table in LaTeX (needs booktabs)."""
    grid = tabulate(cells(table), HEADERS, "latex_booktabs", disable_numparse=True, colalign=ALIGN)
    for sign, command in (("↑", r"$\uparrow$"), ("↓", r"$\downarrow$")):
        grid = grid.replace(sign, command)
    return "\n".join([f"% {table.title}", *(f"% {note}" for note in table.notes), grid, ""])


def to_csv(tables: list[Table]) -> str:
    """Returns all tables' rows in full precision."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    described = ("dataset", "source", "protocol", "model", "latent_size")
    writer.writerow([*described, "metric", "mean", "sd", "low95", "high95", "seeds"])
    for table in tables:
        run = [table.run.get(field, "") for field in described]
        for metric, s in table.rows.items():
            low, high = s.interval or ("", "")
            sd = "" if s.sd is None else s.sd
            writer.writerow([*run, metric, s.mean, sd, low, high, s.n])
    return text.getvalue()
