"""Products with unit triangular matrices, I + strict(W), for one vector.

A product with a masked matrix spends half its work on zeros. From BLOCK on, the matrix is cut into
square blocks, and those of zeros are skipped; below it, one product is faster than several.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

BLOCK = 128  # columns of a block


def lower(weights: Float[Array, "d d"]) -> Float[Array, "d d"]:
    """Return I + W's strictly lower triangle."""
    return jnp.tril(weights, -1) + jnp.eye(len(weights), dtype=weights.dtype)


def upper(weights: Float[Array, "d d"]) -> Float[Array, "d d"]:
    """Return I + W's strictly upper triangle."""
    return lower(weights.T).T


def times_lower(weights: Float[Array, "d d"], x: Float[Array, " d"]) -> Float[Array, " d"]:
    """Return (I + strict lower of W) x."""
    edges = range(0, len(x), BLOCK)
    rows = [
        _times(jnp.tril(weights[i : i + BLOCK, : i + BLOCK], i - 1), x[: i + BLOCK]) for i in edges
    ]
    return x + jnp.concatenate(rows)


def times_upper(weights: Float[Array, "d d"], x: Float[Array, " d"]) -> Float[Array, " d"]:
    """Return (I + strict upper of W) x."""
    edges = range(0, len(x), BLOCK)
    rows = [_times(jnp.triu(weights[i : i + BLOCK, i:], 1), x[i:]) for i in edges]
    return x + jnp.concatenate(rows)


def _times(matrix: Float[Array, "m n"], x: Float[Array, " n"]) -> Float[Array, " m"]:
    # This way round, a batch of vectors is multiplied without a transpose.
    return jnp.matmul(x, matrix.T, precision="highest")
