"""The format of metrics.json, the one file between evaluation and report: read, check, write.

    version     1; a file of another version is refused
    dataset, source, protocol, model, latent_size    of the run's config.json
    settings    by name, what the values were computed under: {"probe": {"C": 1.0, ...}, ...}
    replicates  one entry each:
      replicate   its name, `seed_<n>[__<swept scalars>]`; seed
      failed      why there are no values; then nothing below is there
      stale       why the values no longer describe the run; absent where they do
      sha256      of the embeddings that were scored; sha256_model and sha256_pictures of the other
                  two files, where there are any
      versions    of the libraries; a value of an earlier scoring by others carries its own
      num_test    test examples; sha256_index_test: of their indices as int64, null where unknown
      values      [{metric, value, seed, split, n, settings}]: a finite number each, over n examples
                  of the split, under the settings named. Beside the test split, `model` is C's
                  entries off the diagonal, `run` the learned arrays, `pictures` the run's pictures
      absent      [{metric, reason}]: the metrics that these embeddings cannot give
      curves      {name: {seed, split, n, settings, <one list per axis>}}; null where undefined:
                    reliability, reliability_standardised: examples, confidence, accuracy per bin
                    covariance_eigenvalues: eigenvalue, the largest first
    described   by name, how the metrics of a user's own are shown: {title, unit, decimals, better};
                better is 1 where higher values are better, -1 where lower ones are, 0 where neither

The last field, `file_sha256`, is the digest of the text before it; a file of another tool may lack
it. Written by evaluation, which imports no jax; read by whoever wants the numbers.
"""

import collections
import json
from pathlib import Path
from typing import Any

from mvae_jax.escape import shown
from mvae_jax.store import files, json_file, run_folder
from mvae_jax.store.names import seed_of

VERSION = 1
# By the field that holds a file's SHA-256, the folder of the run that the file lies in.
SCORED_FILES = {"sha256": "embeddings", "sha256_model": "model", "sha256_pictures": "pictures"}
OUT_OF_MEMORY = "out of memory"  # begins the reason of what the next scoring is to try again
WAY_OUT = "run python -m mvae_jax.evaluate on the folder"
SHOWN: dict[str, type] = {"title": str, "unit": str, "decimals": int, "better": int}
LONGEST, MOST_DECIMALS = 80, 17  # letters of a title or unit, which are on one line; decimals
# What each object must hold: a schema, see `json_file.find_fault`.
RUN = {**run_folder.REQUIRED, "source": str, "settings": dict, "replicates": list}
FAILED = {"replicate": str, "failed": str}
COMPUTED = {"seed": int, "split": str, "n": int, "settings": [str]}
REPLICATE = {
    "replicate": str,
    "seed": int,
    "sha256": str,
    "sha256_index_test": str | None,
    "num_test": int,
    "stale": str | None,
    "values": [{"metric": str, "value": float, **COMPUTED}],
    "absent": [{"metric": str, "reason": str}],
}
# The axes of each curve: lists of one length, null where undefined.
AXES = {
    "reliability": ("examples", "confidence", "accuracy"),
    "reliability_standardised": ("examples", "confidence", "accuracy"),
    "covariance_eigenvalues": ("eigenvalue",),
}


class MetricsError(ValueError):
    """A metrics.json that is missing or not of this format; names the file, field and way out."""


class EditedError(MetricsError):
    """A metrics.json that is not as it was written: damaged, or edited by somebody."""


def read(path: Path) -> dict[str, Any]:
    """Read and check a metrics.json; raise MetricsError."""
    try:
        found = json_file.read_json(path)
    except run_folder.RunFolderError as error:
        if isinstance(error.__cause__, json_file.SealError):
            way_out = (
                f"remove its last field, {json_file.FIELD}, to keep an edit, or move the file away"
            )
            raise EditedError(f"{error}; {way_out}") from error
        raise MetricsError(f"{error}; {WAY_OUT}") from error
    try:
        check(found)
    except MetricsError as error:
        raise MetricsError(f"{path}: {error}; {WAY_OUT}") from error
    return found


def write(path: Path, content: dict[str, Any]) -> None:
    """Write what `read` reads, after the same check; the file is whole or as it was."""
    content = {"version": VERSION, **content}
    check(content)
    text = json_file.seal(_dumps(content))
    if not path.is_file() or files.read_bytes(path, json_file.MAX_BYTES) != text.encode():
        files.write_text(path, text)


def carry(older: dict[str, Any], newer: dict[str, Any]) -> None:
    """Give an entry what an older one of the same embeddings holds and it cannot have itself.

    That is what was not computed again, what another version, an export or a user has measured,
    what needed a model or pictures that are gone, and what the memory does not suffice for now.
    """
    if older.get("sha256") != newer["sha256"]:
        return
    gone = [key for key in ("sha256_model", "sha256_pictures") if key in older.keys() - newer]
    undecided = {
        row["metric"] for row in newer["absent"] if gone or row["reason"].startswith(OUT_OF_MEMORY)
    }
    new = {row["metric"]: row for row in newer["values"]}
    kept = {row["metric"]: row for row in older["values"]}
    decided = {row["metric"] for row in newer["absent"]} - (undecided & kept.keys())
    if "versions" in older and older["versions"] != newer.get("versions"):
        kept = {name: {"versions": older["versions"], **row} for name, row in kept.items()}
    values = {name: row for name, row in (kept | new).items() if name not in decided}
    absent = {row["metric"]: row for row in older["absent"] + newer["absent"]}
    newer["values"] = list(values.values())
    newer["absent"] = [row for name, row in absent.items() if name not in values]
    if curves := older.get("curves", {}) | newer.get("curves", {}):
        newer["curves"] = curves
    newer |= {key: older[key] for key in gone}


def check(content: Any) -> None:
    """Raise MetricsError, which names the first field that is not of the format."""
    version = content.get("version") if isinstance(content, dict) else None
    if version != VERSION:
        raise MetricsError(f"version is {shown(version)}, not {VERSION}")
    _check("", content, RUN)
    _check("", {"described": content.get("described", {})}, {"described": dict})
    for name, metric in content.get("described", {}).items():
        check_shown(metric, f"described.{shown(name)}.")
    for position, entry in enumerate(content["replicates"]):
        where = f"replicates[{position}]"
        failed = isinstance(entry, dict) and "failed" in entry
        _check(where, entry, FAILED if failed else REPLICATE)
        if "seed" in entry:  # that of a badly named file is not known
            _check_name(entry, where)
        if not failed:
            _check_scored(entry, content["settings"], where)
    _check_unique([entry["replicate"] for entry in content["replicates"]], "replicates")


def _check(where: str, found: Any, schema: Any) -> None:
    if fault := json_file.find_fault(found, schema):
        raise MetricsError(f"{where}: {fault}" if where else fault)


def check_shown(metric: Any, where: str = "") -> None:
    """Raise MetricsError where the report cannot show a user's own metric by these fields."""
    _check(where.removesuffix("."), metric, SHOWN)
    for field in ("title", "unit"):
        if not metric[field].isprintable() or len(metric[field]) > LONGEST:
            said = shown(metric[field])
            raise MetricsError(f"{where}{field} is {said}, not a line of up to {LONGEST} letters")
    for field, allowed in (("decimals", range(MOST_DECIMALS + 1)), ("better", (1, 0, -1))):
        if metric[field] not in allowed:
            said = f"from 0 to {MOST_DECIMALS}" if field == "decimals" else "1, 0 or -1"
            raise MetricsError(f"{where}{field} is {metric[field]}, not {said}")
    if unknown := sorted(metric.keys() - SHOWN.keys()):
        raise MetricsError(f"{where}{unknown[0]} is no field of the format")


def _check_scored(entry: dict[str, Any], settings: dict[str, Any], where: str) -> None:
    _check_unique([row["metric"] for row in entry["values"] + entry["absent"]], f"{where}.metric")
    curves = entry.get("curves", {})
    _check(where, {"curves": curves}, {"curves": dict})
    for name, curve in curves.items():
        axes = AXES.get(name, ())
        within = f"{where}.curves.{name}"
        _check(within, curve, COMPUTED | {axis: [int | float | None] for axis in axes})
        if len({len(curve[axis]) for axis in axes}) > 1:
            raise MetricsError(f"{within}: its lists are not of one length")
    for computed in [*entry["values"], *curves.values()]:
        what = f"{where}.{computed.get('metric', 'curves')}"
        if unknown := [name for name in computed["settings"] if name not in settings]:
            said = shown(unknown)
            raise MetricsError(f"{what} has settings {said}, which are not in settings")
        if computed["seed"] != entry["seed"]:
            raise MetricsError(f"{what} is of seed {computed['seed']}, not of its entry's")


def _check_name(entry: dict[str, Any], where: str) -> None:
    """Raise MetricsError where a replicate's name, a part of paths, is not that of its seed."""
    try:
        seed = seed_of(entry["replicate"])
    except ValueError as error:
        raise MetricsError(f"{where}.{error}") from error
    if seed != entry["seed"]:
        raise MetricsError(f"{where}.replicate is {entry['replicate']}, of seed {entry['seed']!r}")


def _check_unique(found: list[str], where: str) -> None:
    name, number = next(iter(collections.Counter(found).most_common(1)), ("", 0))
    if number > 1:
        raise MetricsError(f"{where} has {name} {number} times")


def _dumps(value: Any, indent: str = "\n") -> str:
    """Return JSON with one line for every object that holds no other object."""

    def holds_objects(value: Any) -> bool:
        children = value.values() if isinstance(value, dict) else value
        return isinstance(value, (dict, list)) and any(
            isinstance(child, dict) or holds_objects(child) for child in children
        )

    if not holds_objects(value):
        return json.dumps(value, allow_nan=False)
    deeper = f"{indent} "
    if isinstance(value, list):
        return f"[{deeper}{f',{deeper}'.join(_dumps(v, deeper) for v in value)}{indent}]"
    pairs = (f"{json.dumps(key)}: {_dumps(v, deeper)}" for key, v in value.items())
    return f"{{{deeper}{f',{deeper}'.join(pairs)}{indent}}}"
