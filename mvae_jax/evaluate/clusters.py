"""How well k-means on the embeddings finds the classes."""

import warnings

import numpy as np
from jaxtyping import Float, Int
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

SETTINGS = {"n_init": 10, "random_state": 0}


def agreement(x: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"]) -> tuple[float, float]:
    """Return NMI (arithmetic mean) and ARI between the classes and as many k-means clusters."""
    # A power of two changes no digit of the clusters, and no square overflows.
    x = np.ldexp(x, -np.frexp(np.abs(x).max())[1])
    kmeans = KMeans(n_clusters=len(np.unique(labels)), **SETTINGS)
    with warnings.catch_warnings():
        # A collapsed model has fewer distinct embeddings than classes: a result, no mistake.
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = kmeans.fit_predict(x)
    return (
        float(normalized_mutual_info_score(labels, found)),
        float(adjusted_rand_score(labels, found)),
    )
