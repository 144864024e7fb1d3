"""From a run folder's embeddings to its metrics.json."""

import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from mvae_jax import files
from mvae_jax.evaluate import embeddings, metrics
from mvae_jax.evaluate.embeddings import Embeddings, FormatError

VERSION = 1
DESCRIBED = ("dataset", "protocol", "model", "latent_size")  # what config.json must say
LABEL_METRICS = ("probe_accuracy", "probe_nll", "brier", "ece", "nmi", "ari")


def score(paths: Iterable[Path]) -> bool:
    """Scores every run folder at or below the paths; returns whether every replicate is scored."""
    runs = files.find_runs(paths)
    if not runs:
        print("error: path: no folder with embeddings/ there", file=sys.stderr)
    return bool(runs) & all([score_run(run) for run in runs])


def score_run(run: Path) -> bool:
    """Writes the run's metrics.json, reusing what it holds of unchanged files.

    Returns whether every replicate is scored. A file that cannot be scored becomes an entry with
    the reason.
    """
    try:
        config = read_config(run / "config.json")
    except FormatError as error:
        print(f"error: {error}", file=sys.stderr)
        return False
    settings = {
        "probe": metrics.PROBE_SETTINGS,
        "clusters": metrics.CLUSTER_SETTINGS,
        "ece_bins": metrics.ECE_BINS,
        "batch_size": config.get("batch_size", 100),
    }
    earlier = _earlier(run, settings)
    entries = {
        name: {"replicate": name, "seed": replicate["seed"], "failed": replicate["failed"]}
        for name, replicate in _manifest(run).items()
        if "failed" in replicate
    }
    for path in sorted((run / "embeddings").glob("[!.]*.npz")):
        digest = files.sha256(path)
        entry = earlier.get(path.stem)
        if entry is None or entry["sha256"] != digest:
            entry = {"replicate": path.stem, "sha256": digest, **_entry(path, config, settings)}
        entries[path.stem] = entry
    if not config.get("keep_embeddings", True):  # scored before, and gone since
        entries = earlier | entries
    if not entries:
        print(f"{run}: no embeddings", file=sys.stderr)
        return False
    described = {field: config[field] for field in DESCRIBED}
    result = {
        "version": VERSION,
        **described,
        "source": config.get("source", ""),
        "settings": settings,
        "replicates": sorted(entries.values(), key=lambda e: (e.get("seed", -1), e["replicate"])),
    }
    files.write_text(run / "metrics.json", json.dumps(result, indent=1) + "\n")
    complete = all("values" in entry for entry in entries.values())
    if complete and not config.get("keep_embeddings", True):
        for path in (run / "embeddings").glob("*.npz"):
            path.unlink()
    return complete


def read_config(path: Path) -> dict[str, Any]:
    """Reads the fields of config.json that scoring needs; raises FormatError."""
    try:
        config = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise FormatError(f"{path}: not readable ({error})") from error
    for field in DESCRIBED:
        kind = int if field == "latent_size" else str
        if not isinstance(config, dict) or type(config.get(field)) is not kind:
            raise FormatError(f"{path}: '{field}' is missing or no {kind.__name__}")
    return config


def score_embeddings(found: Embeddings, batch_size: int) -> tuple[dict[str, float], dict[str, str]]:
    """Returns one replicate's metrics on the test split, and the reason for each absent one."""
    values: dict[str, float] = {}
    absent: dict[str, str] = {}
    terms = found.terms
    if {"log_likelihood", "kl"} <= set(terms):
        elbo = terms["log_likelihood"].astype(np.float64) - terms["kl"]
        values["elbo"] = float(elbo.mean())
        values["log_likelihood"] = float(terms["log_likelihood"].mean(dtype=np.float64))
        values["kl"] = float(terms["kl"].mean(dtype=np.float64))
        values["elbo_release"] = metrics.mean_of_batch_means(elbo, batch_size)
    else:
        reason = "no per-example log_likelihood_test and kl_test in the file"
        absent |= dict.fromkeys(("elbo", "log_likelihood", "kl", "elbo_release"), reason)
    for name, term in (("mse", "squared_error_sampled"), ("mse_mean", "squared_error_mean")):
        if term in terms:
            values[name] = float(terms[term].mean(dtype=np.float64))
        else:
            absent[name] = f"no per-example {term}_test in the file"

    if why := _why_no_labels(found):
        absent |= dict.fromkeys(LABEL_METRICS, why)
        return values, absent
    labels = found.labels["test"]
    probe = metrics.fit_probe(found.mu["train"], found.labels["train"], found.mu["test"])
    values["probe_accuracy"] = metrics.accuracy(probe, labels)
    values["probe_nll"] = metrics.negative_log_likelihood(probe, labels)
    values["brier"] = metrics.brier(probe, labels)
    values["ece"] = metrics.expected_calibration_error(probe, labels)
    values["probe_converged"] = float(probe.converged)
    values["nmi"], values["ari"] = metrics.clusters(found.mu["test"], labels)
    return values, absent


def _why_no_labels(found: Embeddings) -> str | None:
    if not found.labels:
        return "the data set has no labels"
    if "train" not in found.labels:
        return "no mu_train in the file"
    unseen = np.setdiff1d(found.labels["test"], found.labels["train"])
    if len(unseen):
        return f"test labels {', '.join(map(str, unseen[:5]))} are not among the training labels"
    if len(np.unique(found.labels["train"])) < 2:
        return "the data set has one class"
    return None


def _entry(path: Path, config: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Returns one replicate's part of metrics.json: its values, or why there are none."""
    start = time.perf_counter()
    try:
        found = embeddings.read(path, config["latent_size"])
        values, absent = score_embeddings(found, settings["batch_size"])
    except FormatError as error:
        print(f"error: {error}", file=sys.stderr)
        return {"failed": str(error)}
    print(f"{path}: scored in {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)
    common = {"seed": found.seed, "split": "test", "n": len(found.mu["test"])}
    return {
        "seed": found.seed,
        "values": [{"metric": name, "value": value, **common} for name, value in values.items()],
        "absent": [{"metric": name, "reason": reason} for name, reason in absent.items()],
    }


def _earlier(run: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Returns the scored replicates of the run's metrics.json, if made as it would be now."""
    try:
        found = json.loads((run / "metrics.json").read_text())
        if (found["version"], found["settings"]) != (VERSION, settings):
            return {}
        return {e["replicate"]: e for e in found["replicates"] if "values" in e and "sha256" in e}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _manifest(run: Path) -> dict[str, Any]:
    """Returns the replicates that training recorded; none in a foreign run."""
    path = run / "manifest.json"
    return json.loads(path.read_text())["replicates"] if path.is_file() else {}
