"""`mvae_jax.evaluate(...)`: score embeddings that another tool has made; imports no jax."""

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mvae_jax.evaluate import scoring
from mvae_jax.evaluate.embeddings import PER_EXAMPLE
from mvae_jax.evaluate.record import Metric
from mvae_jax.store import files, json_file, npz, run_folder
from mvae_jax.trained import Run


def evaluate(
    train_embeddings: Any,
    train_labels: Any,
    test_embeddings: Any,
    test_labels: Any,
    *,
    name: str = "embeddings",
    seed: int = 0,
    folder: str | os.PathLike[str] | None = None,
    dataset: str = "data",
    protocol: str = "release",
    index_test: Any = None,
    terms: Mapping[str, Any] | None = None,
    metrics: Sequence[Metric] = (),
) -> Run:
    """Score embeddings from anywhere, as those of a trained run are scored.

    Arrays may be numpy's, jax's, torch's on any device, lists or DataFrames. A run of several seeds
    is one call for each, with the same folder: `mvae_jax.compare` then pairs them.

    Args:
      train_embeddings, test_embeddings: numbers [N, d]; the probe learns on the first, and every
        metric is of the second.
      train_labels, test_labels: integers or names [N]; None for both if there are none.
      name: what tables call the model.
      seed: of the model that made the embeddings.
      folder: the run folder, made where it is missing (docs/embeddings.md has its format); None is
        a temporary one, which is removed with the Run.
      dataset, protocol: as those of the runs beside which a report is to show this one.
      index_test: integers [N], which examples of the data set were tested. Runs of other test
        examples are not compared; without it, that is not checked.
      terms: of each test example [N]: log_likelihood and kl (nats, of the ELBO), iwae (nats) with
        iwae_k (a number), squared_error_sampled and squared_error_mean (per pixel).
      metrics: metrics of your own, computed beside the package's (docs/extend.md).

    Raises:
      ValueError: an array is not what is asked for, or the folder holds something else. Nothing has
        been written.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> labels = np.arange(300) % 3
    >>> z = rng.normal(size=(300, 4)) + np.eye(3, 4)[labels]
    >>> found = mvae_jax.evaluate(z[:200], labels[:200], z[200:], labels[200:], name="noise")
    >>> found.scores.query("metric == 'probe_accuracy'").value.item()
    0...
    """
    arrays = _of_splits(train_embeddings, test_embeddings, train_labels, test_labels)
    num_test, latent_size = arrays["mu_test"].shape
    if index_test is not None:
        arrays["index_test"] = _vector("index_test", index_test, num_test, "iu").astype(np.int64)
    for term, values in (terms or {}).items():
        if term == "iwae_k":
            arrays[term] = np.asarray(int(values))
        elif term in PER_EXAMPLE:
            arrays[f"{term}_test"] = _vector(f"terms[{term!r}]", values, num_test, "fiu")
        else:
            allowed = ", ".join([*PER_EXAMPLE, "iwae_k"])
            raise ValueError(f"terms: got {term!r}; allowed: {allowed}")
    config = {"dataset": dataset, "protocol": protocol, "model": name, "latent_size": latent_size}
    temporary = None if folder else tempfile.TemporaryDirectory(prefix="mvae_jax-")
    path = Path(temporary.name if temporary else os.fspath(folder or ""))
    _write(path, config, seed, arrays)
    scoring.score([path], jobs=1, own=metrics, each=False)
    return Run(path, temporary=temporary)


def _of_splits(train: Any, test: Any, train_labels: Any, test_labels: Any) -> dict[str, np.ndarray]:
    """Return embeddings and labels of both splits by their names in the file, checked."""
    arrays = {"mu_train": _matrix("train_embeddings", train)}
    arrays["mu_test"] = _matrix("test_embeddings", test)
    sizes = [arrays[f"mu_{split}"].shape[1] for split in ("train", "test")]
    if sizes[0] != sizes[1]:
        raise ValueError(f"test_embeddings: got {sizes[1]} columns; allowed: {sizes[0]}, as train")
    if (train_labels is None) != (test_labels is None):
        lacking = "train_labels" if train_labels is None else "test_labels"
        raise ValueError(f"{lacking}: got None; allowed: labels of both splits, or of neither")
    if train_labels is not None:
        n, kinds = len(arrays["mu_train"]), "iubUO"
        of_train = _vector("train_labels", train_labels, n, kinds)
        of_test = _vector("test_labels", test_labels, len(arrays["mu_test"]), kinds)
        labels = np.concatenate([of_train, of_test])
        if labels.dtype.kind not in "iu":  # names of classes
            labels = np.unique(labels.astype(str), return_inverse=True)[1]
        arrays |= {"label_train": labels[:n], "label_test": labels[n:]}
    return arrays


def _matrix(name: str, values: Any) -> np.ndarray:
    """Return embeddings as floats [N, d]; raise ValueError where they are none."""
    array = _on_host(values)
    found = f"{array.dtype} {list(array.shape)}"
    try:
        if array.dtype.kind != "f" or array.dtype.itemsize < 4:
            array = array.astype(np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: got {found}; allowed: numbers [N, d]") from error
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"{name}: got {found}; allowed: numbers [N, d]")
    return _finite(name, array)


def _vector(name: str, values: Any, length: int, kinds: str) -> np.ndarray:
    """Return one value for each example; raise ValueError where it is of another kind or length."""
    array = _on_host(values)
    if array.shape != (length,) or array.dtype.kind not in kinds:
        what = "numbers" if "f" in kinds else "integers or names" if "U" in kinds else "integers"
        found = f"{array.dtype} {list(array.shape)}"
        raise ValueError(f"{name}: got {found}; allowed: {what} [{length}]")
    return _finite(name, array)


def _finite(name: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        row = int(np.argwhere(~np.isfinite(array))[0, 0])
        raise ValueError(f"{name}: got a value in row {row} that is not finite; allowed: numbers")
    return array


def _on_host(values: Any) -> np.ndarray:
    """Return a numpy array of what any library has."""
    if hasattr(values, "detach"):  # torch's, which may be on a device and have a gradient
        values = values.detach().cpu()
        if values.dtype.is_floating_point and values.dtype.itemsize < 4:
            values = values.float()  # numpy has no bfloat16
    return np.asarray(values)


def _write(path: Path, config: dict[str, Any], seed: int, arrays: dict[str, np.ndarray]) -> None:
    """Write a replicate's embeddings, and config.json; raise ValueError where others are there."""
    if (path / "config.json").exists():
        stored = run_folder.read_config(path)
        if run_folder.is_own(path) or stored != config:
            said = f"{stored['model']} z={stored['latent_size']} on {stored['dataset']}"
            raise ValueError(f"folder: '{path}' holds another run ({said}); name another")
    file = path / "embeddings" / f"seed_{seed}.npz"
    if not file.exists():
        json_file.write(path / "config.json", config)
        files.write_npz(file, arrays)
        return
    there = npz.read(file)
    if there.keys() != arrays.keys() or any(
        not np.array_equal(there[key], arrays[key]) for key in arrays
    ):
        raise ValueError(
            f"seed: got {seed}, of which '{file}' holds other embeddings; give another seed, name "
            "another folder, or remove the file"
        )
