"""The shape of the embeddings' cloud, and of the coupling matrix C.

Covariances are over examples, with the divisor n - 1, in double precision.
"""

import numpy as np
from jaxtyping import Float

ACTIVE_VARIANCE = 0.01

Points = Float[np.ndarray, "n d"]
Eigenvalues = Float[np.ndarray, " d"]
Correlation = Float[np.ndarray, "v v"]


def standardise(x: Points, reference: Float[np.ndarray, "m d"]) -> Points:
    """Return x less the reference's mean, over its standard deviation, coordinate by coordinate.

    A coordinate that is constant in the reference is only centred.
    """
    reference = reference.astype(np.float64)
    constant = np.ptp(reference, axis=0) == 0  # the deviation of equal floats may not be 0
    centre = reference.mean(axis=0)
    return (x - centre) / np.where(constant, 1, np.std(reference, axis=0))


def active_units(mu: Points) -> int:
    """Return how many latent coordinates have Var(mu_j) > 0.01 (Burda et al. 2016, Section 5.2).

    C mixes the coordinates, so of an MVAE this counts coordinates of z, not of the encoder's head.
    """
    deviation = np.std(mu, axis=0, ddof=1, dtype=np.float64)
    return int(np.sum(deviation > np.sqrt(ACTIVE_VARIANCE)))


def active_directions(eigenvalues: Eigenvalues) -> int:
    """Return how many eigenvalues of Cov(mu) exceed 0.01: active units of the best rotation.

    Unlike the units, these are not raised by a C that only mixes coordinates. Raise ValueError
    where the largest eigenvalue's rounding hides the smaller ones.
    """
    if len(eigenvalues) * np.finfo(np.float64).eps * eigenvalues[0] > ACTIVE_VARIANCE:
        raise ValueError(
            f"rounding of the largest eigenvalue, {eigenvalues[0]:.3g}, hides those near "
            f"{ACTIVE_VARIANCE}"
        )
    return int(np.sum(eigenvalues > ACTIVE_VARIANCE))


def covariance_eigenvalues(mu: Points) -> Eigenvalues:
    """Return the eigenvalues of Cov(mu), the largest first; an orthogonal C does not move them."""
    centred = mu - mu.mean(axis=0, dtype=np.float64)
    covariance = np.atleast_2d(np.cov(centred, rowvar=False))
    # The exact ones are not negative; what is, is rounding.
    return np.maximum(np.linalg.eigvalsh(covariance)[::-1], 0)


def correlation(mu: Points) -> Correlation:
    """Return the correlation matrix of the coordinates that vary at all."""
    varying = mu[:, mu.max(axis=0) > mu.min(axis=0)]
    centred = varying - varying.mean(axis=0, dtype=np.float64)
    return np.atleast_2d(np.corrcoef(centred, rowvar=False))


def gaussian_total_correlation(correlation: Correlation) -> float:
    """Return -log det(R) / 2 in nats: KL(N(0, R) || product of its marginals) (Watanabe 1960).

    Zero for uncorrelated coordinates, infinite for a singular R (more coordinates than
    examples). Of v independent coordinates it is about v (v - 1) / (4 n) from the sampling alone.
    """
    values = np.linalg.eigvalsh(correlation)
    if values[0] <= len(values) * np.finfo(np.float64).eps * values[-1]:
        return float("inf")
    return float(-0.5 * np.sum(np.log(values)))


def off_diagonal_correlation(correlation: Correlation) -> float:
    """Return the mean |r_ij| over i != j, from 0 to 1: the redundancy the paper speaks of."""
    return float(np.mean(np.abs(off_diagonal(correlation))))


def redundancy_index(coupling: Float[np.ndarray, "d d"]) -> float:
    """Return rho(C), an energy distance of C's standardised off-diagonal entries to N(0, 1).

    Zero in the limit of normal entries, larger for structured ones; it has no unit. Finite
    matrices of normal entries have about 0.035 at d=4, 0.0018 at 16 and 0.0004 at 32, so it
    compares runs of one latent size only, and d=2 always gives 0.205. The source
    (Yavuz and Yanikoglu 2025, arXiv 2509.06314) compares "off-diagonal statistics against a
    normal distribution via energy distance", of coupling matrices derived from latent
    representations; here it is the learned C itself. Read between its lines: standardised is by the
    entries' own mean and standard deviation (divisor n), so the scale of C does not count; both
    triangles enter, since C is not symmetric; the normal is the distribution itself and not a
    sample of it, so the index is a function of C; and the energy distance is the squared one of
    Székely and Rizzo (2013), 2 E|X - Z| - E|X - X'| - E|Z - Z'|, without a root
    (scipy.stats.energy_distance is the root of this one).
    """
    import scipy.stats

    entries = np.sort(off_diagonal(np.asarray(coupling, np.float64)))
    if entries[0] == entries[-1]:
        raise ValueError("the off-diagonal entries of C are all equal")
    entries = standardise(entries[:, None], entries[:, None])[:, 0]
    n = len(entries)
    # E|x - Z| of a standard normal Z, and E|Z - Z'|, in closed form.
    normal = scipy.stats.norm
    to_normal = np.mean(2 * normal.pdf(entries) + entries * (2 * normal.cdf(entries) - 1))
    # Sorted, entry i (from 0) is the larger one of i pairs and the smaller one of n - 1 - i.
    among_entries = 2 * np.sum((2 * np.arange(n) - n + 1) * entries) / n**2
    return float(2 * to_normal - among_entries - 2 / np.sqrt(np.pi))


def off_diagonal(matrix: Float[np.ndarray, "d d"]) -> Float[np.ndarray, " m"]:
    """Return the d (d - 1) entries off the diagonal."""
    return matrix[~np.eye(len(matrix), dtype=bool)]
