"""`Run`: what a run folder holds, for Python: scores, parameters, embeddings, figures.

Nothing here imports jax before a model is asked for, so that scores are read without it.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mvae_jax import config as config_lib
from mvae_jax.report import one_run, scores
from mvae_jax.report.frame import Scores
from mvae_jax.report.problems import Problem
from mvae_jax.store import config_file, npz, run_folder

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from ml_collections import FrozenConfigDict


@dataclass(frozen=True)
class Run:
    """A run folder: one model, trained with some seeds and scored, or embeddings that were scored.

    folder:    of the run; `fit`, the command line and `evaluate` write it
    swept:     the values of swept scalars that are meant; empty means all of them, see `at`
    temporary: keeps a temporary folder until the last Run of it is gone

    >>> run = mvae_jax.load_run(folder)
    >>> run
    <Run vae z=4 on data.npz, release protocol: 2 seeds, ELBO -... nats, accuracy 0...; ...>
    >>> run.scores.query("metric == 'elbo'").groupby("seed").value.mean()  # nats per example
    seed
    777   -...
    778   -...
    """

    folder: Path
    swept: Mapping[str, float] = field(default_factory=dict)
    temporary: TemporaryDirectory | None = field(default=None, repr=False, compare=False)

    @property
    def config(self) -> "FrozenConfigDict":
        """The configuration; of embeddings from elsewhere the fields of their config.json."""
        path = self.folder / "config.json"
        stored = config_file.read(path, sealed=run_folder.is_own(self.folder))
        return config_lib.replace(stored, **self.swept)

    @property
    def seeds(self) -> list[int]:
        """The seeds that were trained and have not failed, in order."""
        return sorted({seed for run in self._found().cells.values() for seed in run.seeds})

    @property
    def scores(self) -> pd.DataFrame:
        """Every value in a row, as `mvae_jax.scores` has them."""
        return scores.tidy(self._found())

    @property
    def problems(self) -> pd.DataFrame:
        """What keeps the scores from being complete: where, reason; empty if nothing does."""
        lacking = self._found().lacking()
        return pd.DataFrame(lacking, columns=list(Problem._fields))

    def at(self, **swept: float | int) -> "Run":
        """Return the run at these values of its swept scalars, as `run.at(beta=4)`.

        Raise ValueError where it has no such values; the message lists those it has.
        """
        chosen = replace(self, swept={**self.swept, **{k: float(v) for k, v in swept.items()}})
        chosen._found()
        return chosen

    def params(self, seed: int | None = None) -> dict[str, Any]:
        """Return a seed's parameters, float32 arrays by the names of the layers; see `load`.

        seed: by default the first

        Raise FileNotFoundError where the run has no such seed.
        """
        return self._model(seed)[1]

    def embeddings(self, seed: int | None = None) -> dict[str, np.ndarray]:
        """Return a seed's embeddings: mu_, label_ and index_<split>, and the test examples' terms.

        `index_train` and `index_test` are the split, for a model of another tool.

        seed: by default the first

        Raise ValueError where the run has no such seed, or its embeddings were not kept.

        >>> run.embeddings()["mu_test"].shape
        (60, 4)
        """
        (replicate,) = config_lib.replicates(
            [self.seeds[0] if seed is None else seed], {k: [v] for k, v in self.swept.items()}
        )
        return npz.read(self.folder / "embeddings" / f"{replicate.name}.npz")

    def encode(self, images: Any, seed: int | None = None) -> np.ndarray:
        """Return the posterior means of images, float32 [N, d].

        images: uint8 [N, H, W, C], or [N, H, W] of one channel, as the model was trained on
        seed: by default the first

        Raise ValueError for images of another kind.

        >>> run.encode(images[:5], seed=778).shape
        (5, 4)
        """
        import jax

        from mvae_jax import inference, posteriors

        config, params = self._model(seed)
        images = jax.numpy.asarray(images)
        if images.ndim == 3 and config.image_shape[-1] == 1:
            images = images[..., None]
        family = posteriors.of(config)
        q = inference.encode(config, params, images)
        return np.asarray(jax.vmap(family.embedding, in_axes=(family.axes,))(q))

    def decode(self, z: Any, seed: int | None = None) -> np.ndarray:
        """Return the mean images of latent vectors, float32 [N, H, W, C], pixels in [0, 1].

        z: [N, d]
        seed: by default the first

        >>> run.decode(run.encode(images[:5])).shape
        (5, 8, 8, 1)
        """
        import jax.numpy as jnp

        from mvae_jax import inference

        return np.asarray(inference.decode(*self._model(seed), jnp.asarray(z, jnp.float32)))

    def plot(self, figure: str = "training") -> "Figure":
        """Draw one of the report's figures of this run.

        figure: "training", "reconstructions", "reliability", "coupling", "covariance",
          "embeddings" (z=2) or "sweeps" (docs/reports.md)

        Raise ValueError where there is no such figure, or the run lacks what it shows.

        >>> run.plot("reconstructions")
        <Figure size ...>
        """
        return one_run.figure(self._found(), figure)

    def __repr__(self) -> str:
        return f"<Run {one_run.line(self._found())}; {self.folder}>"

    def _repr_html_(self) -> str:
        return one_run.page(self._found())

    def _found(self) -> Scores:
        return scores.of_parts(scores.parts_of(self.folder, self.swept))

    def _model(self, seed: int | None) -> tuple["FrozenConfigDict", dict[str, Any]]:
        from mvae_jax import inference

        seed = self.seeds[0] if seed is None else seed
        return inference.load(self.folder, seed, **self.swept)


def load_run(folder: str | os.PathLike[str]) -> Run:
    """Return a run that is there, whoever trained it.

    Raise ValueError where the folder holds no run (no config.json), or a damaged one.

    >>> mvae_jax.load_run(folder).seeds
    [777, 778]
    """
    run = Run(Path(folder))
    run_folder.read_config(run.folder)
    return run
