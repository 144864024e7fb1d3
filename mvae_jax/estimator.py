"""`MVAE`: the models as a scikit-learn transformer, for pipelines and grid searches.

It trains one seed in memory, by the same compiled epoch as the command line, and writes no file.
"""

from typing import Any

import jax
import numpy as np
from ml_collections import FrozenConfigDict
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from mvae_jax import config as config_lib
from mvae_jax import embed, inference, numerics, posteriors, programs, records, replicas, train
from mvae_jax.config import ConfigError
from mvae_jax.runs import environment

SEEDS = 2**31 - 1


class MVAE(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """A variational autoencoder that maps rows of pixels to posterior means.

    The package's models are of bytes. Rows of uint8 are taken as they are. Other numbers are
    rounded to 256 levels between two values, `range_`: 0 and 1 where the training data lie between
    them, and else the least and the greatest of the training data, beyond which they are cut off.

    Args:
      latent_size: d, the number of latent variables.
      model: the posterior family, as "mvae" or "vae" (docs/families.md).
      num_epochs: passes over the training data.
      batch_size: rows of a step; all rows where there are fewer.
      learning_rate: of the optimiser.
      fields: other fields of the configuration by name, as {"hidden_size": 200}.
      random_state: the seed, as of the command line; None or a RandomState draws one.

    Attributes:
      params_: the trained parameters, float32 arrays by the names of the layers.
      range_: the two values, whose pixels are 0 and 1.
      n_features_in_: the number of pixels of a row.

    >>> from sklearn.datasets import load_digits
    >>> x = load_digits().data[:200] / 16
    >>> model = mvae_jax.MVAE(latent_size=4, num_epochs=2).fit(x)
    >>> model.transform(x).shape
    (200, 4)
    >>> model.score(x) < 0  # mean ELBO, nats per example
    True
    """

    def __init__(
        self,
        latent_size: Any = 16,  # scikit-learn sets anything, of which only fit may complain
        *,
        model: Any = "mvae",
        num_epochs: Any = 200,
        batch_size: Any = 100,
        learning_rate: Any = 1e-3,
        fields: Any = None,
        random_state: Any = 777,
    ) -> None:
        self.latent_size = latent_size
        self.model = model
        self.num_epochs = num_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.fields = fields
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> "MVAE":
        """Train on rows X [n, features]; y is ignored.

        Raises:
          ValueError: X holds no finite numbers of this shape, or the training diverged.
          ConfigError: a parameter is unknown or impossible.
        """
        X = self._rows(X, reset=True)
        self.range_ = self._find_range(X)
        seed = self.random_state
        if not isinstance(seed, int | np.integer):
            seed = check_random_state(seed).randint(SEEDS)
        self.config_ = self._config(len(X), int(seed)).to_dict()
        environment.prepare_jax(1)
        self.params_ = _train(FrozenConfigDict(self.config_), self._to_images(X))
        self._n_features_out = self.latent_size
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Return the posterior means of rows X [n, features], float32 [n, d]."""
        config, images = self._prepared(X)
        means = programs.jit(_means, records.modules(config), static_argnums=0)
        return np.asarray(means(config, self.params_, images))

    def inverse_transform(self, X: Any) -> np.ndarray:
        """Return the mean rows of latent vectors X [n, d], float32 [n, features].

        They are in the units of the training data; of bytes, in [0, 1].
        """
        check_is_fitted(self)
        config, (low, high) = FrozenConfigDict(self.config_), self.range_
        rows = np.asarray(inference.decode(config, self.params_, jax.numpy.asarray(X, "float32")))
        return low + (high - low) * rows.reshape(len(rows), -1)

    def score(self, X: Any, y: Any = None) -> float:
        """Return the mean ELBO of rows X [n, features], in nats per example, with one sample each.

        Higher is better. The samples are the same in every call.
        """
        config, images = self._prepared(X)
        with numerics.fixed():
            key = train.seed_key(jax.numpy.asarray(config.first_seed))
            terms = embed.example_terms(config, self.params_, key, images)
        return float(np.mean(terms["log_likelihood"] - terms["kl"]))

    def __sklearn_tags__(self) -> Any:
        """Return what scikit-learn asks: the means are single precision."""
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def _config(self, num_rows: int, seed: int) -> FrozenConfigDict:
        own = self.get_params()
        del own["fields"], own["random_state"]
        fixed = {"num_seeds": 1, "first_seed": seed, "iwae_samples": 0, "pixel_scale": 1 / 255}
        fields = self.fields or {}
        if without := [name for name in ("patience", "select", "sweep") if name in fields]:
            allowed = "those of one seed without a validation split"
            raise ConfigError(f"fields: got {without[0]!r}; allowed: {allowed}")
        config = config_lib.change(config_lib.base_config("rows", "vae,1"), own | fields | fixed)
        facts = {"image_shape": (1, self.n_features_in_, 1)}
        return config_lib.replace(config, **facts, batch_size=min(config.batch_size, num_rows))

    def _prepared(self, X: Any) -> tuple[FrozenConfigDict, np.ndarray]:
        check_is_fitted(self)
        return FrozenConfigDict(self.config_), self._to_images(self._rows(X, reset=False))

    def _rows(self, X: Any, reset: bool) -> np.ndarray:
        """Return checked rows [n, features]; those of images [n, height, width, ...] are flat."""
        if isinstance(X, np.ndarray) and X.ndim in (3, 4):
            X = X.reshape(len(X), -1)
        kinds = [np.float64, np.float32, np.uint8]
        rows: np.ndarray = validate_data(self, X, reset=reset, dtype=kinds)
        return rows

    @staticmethod
    def _find_range(X: np.ndarray) -> tuple[float, float]:
        low, high = float(X.min()), float(X.max())
        is_unit = X.dtype == np.uint8 or (low >= 0 and high <= 1)
        return (0.0, 1.0) if is_unit or low == high else (low, high)

    def _to_images(self, X: np.ndarray) -> np.ndarray:
        """Return rows as bytes [n, 1, features, 1]."""
        if X.dtype != np.uint8:
            low, high = self.range_
            X = np.rint(255 * np.clip((X - low) / (high - low), 0, 1)).astype(np.uint8)
        return X[:, None, :, None]


def _means(config: FrozenConfigDict, params: inference.Params, images: jax.Array) -> jax.Array:
    family = posteriors.of(config)
    q = inference.encode(config, params, images)
    means: jax.Array = jax.vmap(family.embedding, in_axes=(family.axes,))(q)
    return means


@numerics.fixed()
def _train(config: FrozenConfigDict, images: np.ndarray) -> inference.Params:
    """Return the parameters after the last epoch; raise ValueError where a bound is not finite."""
    program, mode = config_lib.of_program(config), replicas.choose_mode()
    states = replicas.init(program, [config.first_seed])
    on_device = replicas.share_images(images, 1)
    for epoch in range(1, config.num_epochs + 1):
        states, metrics = replicas.train_epoch(program, mode, states, on_device)
        elbo = jax.device_get(metrics.log_likelihood - metrics.kl)[0]
        if not np.isfinite(elbo):
            raise ValueError(f"the ELBO was {elbo} in epoch {epoch}; lower the learning_rate")
    (state,) = replicas.unstack(states, 1)
    params: inference.Params = state.params
    return params
