"""`--export=DIR --parquet`: scores and embeddings as Parquet, which other tools read."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mvae_jax.report import scores
from mvae_jax.store import files, npz
from mvae_jax.store.files import PathLike

SCORES, EMBEDDINGS = "scores.parquet", "embeddings"
SPLITS = ("train", "valid", "test")


def write(paths: PathLike | Iterable[PathLike], out: Path) -> int:
    """Write scores.parquet and embeddings/<run>/<replicate>.parquet; return how many of these.

    The scores are the frame of `mvae_jax.scores`. Embeddings have a row per example: split, index
    in the data set, label (both where they are known) and mu_0, mu_1, ... in float32.

    Raises:
      ImportError: pyarrow is not installed.
      ValueError: the embeddings of a run cannot be read.
    """
    roots = files.as_paths(paths)
    values, _ = scores.scores(*roots)
    _write(values, out / SCORES)
    count = 0
    for root in roots:
        for run in files.find_runs([root], holding=("embeddings",)):
            below = run.relative_to(root) if run != root else Path(run.resolve().name)
            for path in sorted((run / "embeddings").glob("seed_*.npz")):
                _write(frame(path), out / EMBEDDINGS / below / f"{path.stem}.parquet")
                count += 1
    return count


def frame(path: Path) -> pd.DataFrame:
    """Return one file of embeddings as rows; raise ValueError where it cannot be read."""
    arrays = npz.read(path)
    parts = []
    for split in SPLITS:
        if f"mu_{split}" not in arrays:
            continue
        mu = np.asarray(arrays[f"mu_{split}"], np.float32)
        columns: dict[str, Any] = {"split": split}
        columns |= {
            name: arrays[f"{name}_{split}"]
            for name in ("index", "label")
            if f"{name}_{split}" in arrays
        }
        axes = pd.DataFrame(mu, columns=[f"mu_{i}" for i in range(mu.shape[1])])
        parts.append(pd.DataFrame(columns, index=axes.index).join(axes))
    if not parts:
        raise ValueError(f"{path}: no mu_train, mu_valid or mu_test in it")
    return pd.concat(parts, ignore_index=True)


def _write(found: pd.DataFrame, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_bytes(path, lambda file: found.to_parquet(file, engine="pyarrow", index=False))
