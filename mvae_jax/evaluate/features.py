"""The features in which the probe is fitted: centred, and at a scale that the solver resolves.

The probe's penalty is on the weights of the features as they are. Beside features whose standard
deviation is far above 1 it is so small that it is lost to rounding, and so are the smaller features
beside the larger ones. Such features are scaled by powers of two, which rounds nothing, and then
replaced by linear combinations of unit variance; the penalty on the original weights becomes a
quadratic form of the new ones, so that the optimum stays what it was.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from mvae_jax.evaluate.geometry import power_of_two_over

EPSILON = np.finfo(np.float64).eps
NEGLIGIBLE = 1e-8
# Times EPSILON and the largest direction's size: what is smaller is rounding, what is larger not.
NOISE, SIGNAL = 8, 1000


class Features(NamedTuple):
    """z = (x * scale - centre) @ basis; the weights of x are scale * (basis @ the weights of z).

    scale:    float64 [d], powers of two
    centre:   float64 [d]
    basis:    float64 [d, m]; None for the identity
    penalty:  float64 [m, m]: the penalty on weights A of z is sum(A * (penalty @ A)) / 2
    faint:    whether the penalty is negligible beside the features' variances
    resolved: whether every direction that was left out of the basis is one of no variance
    """

    scale: Float[np.ndarray, " d"]
    centre: Float[np.ndarray, " d"]
    basis: Float[np.ndarray, "d m"] | None
    penalty: Float[np.ndarray, "m m"]
    faint: bool = False
    resolved: bool = True


def of(x: Float[np.ndarray, "n d"], penalty: float) -> tuple[Float[np.ndarray, "n m"], Features]:
    """Return z, the features of x under a penalty on the squares of their weights.

    Features whose variances sum to at most penalty / NEGLIGIBLE are only centred.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        centre = x.mean(axis=0, dtype=np.float64)
        z = x - centre
        variance = np.vdot(z, z) / len(z)
    if NEGLIGIBLE * variance <= penalty:  # false of NaN, after an overflow
        d = len(centre)
        return z, Features(np.ones(d), centre, None, penalty * np.eye(d))
    return _combined(x, penalty)


def _combined(
    x: Float[np.ndarray, "n d"], penalty: float
) -> tuple[Float[np.ndarray, "n m"], Features]:
    """Return uncorrelated features of about unit variance.

    The rows sqrt(penalty) * scale below those of the examples make the penalty count as examples
    do, so that no direction is stretched further than the penalty allows. Directions in which all
    rows are zero, but for rounding, are left out: there the weights are as small as can be.
    """
    n = len(x)
    scale = _scale(x, largest=power_of_two_over(np.sqrt([penalty / n])))
    z = x * scale
    centre = np.where(np.ptp(z, axis=0) > 0, z.mean(axis=0), z[0])
    z -= centre

    rows = np.vstack([z, np.diag(np.sqrt(penalty) * scale)])
    _, size, directions = np.linalg.svd(np.linalg.qr(rows, mode="r"))
    rounding = EPSILON * size[0]
    kept = size > SIGNAL * rounding
    basis = directions[kept].T * (np.sqrt(n) / size[kept])
    # Of the weights that give equal scores, the penalty asks for the smallest of x itself.
    original, null = scale[:, None] / scale.max(), directions[~kept].T
    basis -= null @ np.linalg.lstsq(original * null, original * basis)[0]
    shrunk = np.sqrt(penalty) * scale[:, None] * basis
    resolved = bool(np.all(size[~kept] <= NOISE * rounding))
    return z @ basis, Features(scale, centre, basis, shrunk.T @ shrunk, True, resolved)


def _scale(
    x: Float[np.ndarray, "n d"], largest: Float[np.ndarray, " 1"]
) -> Float[np.ndarray, " d"]:
    """Return the powers of two, at most `largest`, that bring standard deviations to about 1."""
    below_one = power_of_two_over(np.abs(x).max(axis=0))
    z = x * below_one
    varies = np.ptp(z, axis=0) > 0
    with np.errstate(over="ignore"):  # features of tiny variance count for nothing
        scale = below_one * power_of_two_over(z.std(axis=0))
    return np.where(varies, np.minimum(scale, largest), largest)
