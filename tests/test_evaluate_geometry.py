"""Metrics of clusters, of mu and of C against closed forms, scikit-learn and loops."""

import math

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from sklearn.cluster import KMeans
from sklearn.metrics import (
    adjusted_rand_score,
    normalized_mutual_info_score,
)
from sklearn.preprocessing import StandardScaler

from mvae_jax.evaluate import classification, geometry

RNG = np.random.default_rng(0)


# --- clusters ----------------------------------------------------------------------------------


def blobs(separation):
    labels = np.repeat(np.arange(4), 60)
    x = separation * np.eye(4)[labels] + np.random.default_rng(1).normal(size=(240, 4))
    return x.astype(np.float32), labels * 3 - 2


def test_separated_classes_are_found_and_their_names_do_not_matter():
    x, labels = blobs(separation=50)
    assert classification.cluster_agreement(x, labels) == pytest.approx((1, 1))


def contingency(labels, found):
    """Returns the joint counts, by loops."""
    table = np.zeros((len(set(labels)), len(set(found))))
    rows, columns = sorted(set(labels)), sorted(set(found))
    for label, cluster in zip(labels, found, strict=True):
        table[rows.index(label), columns.index(cluster)] += 1
    return table


def test_nmi_and_ari_are_those_of_the_definition():
    x, labels = blobs(separation=2)
    found = KMeans(4, n_init=10, random_state=0).fit_predict(x)
    nmi, ari = classification.cluster_agreement(x, labels)
    assert nmi == normalized_mutual_info_score(labels, found, average_method="arithmetic")
    assert ari == adjusted_rand_score(labels, found)

    table = contingency(labels, found)
    p = table / table.sum()
    marginals = p.sum(axis=1), p.sum(axis=0)
    information = scipy.stats.entropy(p.ravel(), np.outer(*marginals).ravel())
    assert nmi == pytest.approx(information / np.mean([scipy.stats.entropy(m) for m in marginals]))

    def agreeing_pairs(counts):
        return sum(c * (c - 1) / 2 for c in np.ravel(counts))

    both = agreeing_pairs(table)
    one, other = (agreeing_pairs(table.sum(axis=axis)) for axis in (0, 1))
    chance = one * other / agreeing_pairs([len(labels)])
    assert ari == pytest.approx((both - chance) / ((one + other) / 2 - chance))
    assert 0.2 < ari < 0.98  # neither chance nor perfect


def test_identical_embeddings_have_no_clusters(recwarn):
    _, labels = blobs(separation=2)
    assert classification.cluster_agreement(np.ones((240, 4), np.float32), labels) == (0, 0)
    assert not recwarn.list


# --- geometry ----------------------------------------------------------------------------------


def test_standardise_is_scikit_learns_scaler():
    reference, x = RNG.normal(3, 5, size=(50, 4)), RNG.normal(size=(20, 4))
    reference[:, 2] = 0.1  # constant, and no binary fraction
    found = geometry.standardise(x, reference)
    np.testing.assert_allclose(found, StandardScaler().fit(reference).transform(x))
    itself = geometry.standardise(reference, reference)
    np.testing.assert_allclose(itself[:, [0, 1, 3]].std(axis=0), 1)
    np.testing.assert_allclose(itself[:, 2], 0, atol=1e-15)


def test_active_units_count_variances_above_a_hundredth():
    signs = np.tile([[1.0], [-1.0]], (50, 1))
    # The variances are scale^2 x 100/99.
    scales = np.sqrt(np.array([0.0, 0.0099 * 0.99, 0.0101 * 0.99, 4.0]))
    mu = (7 + signs * scales).astype(np.float64)
    assert geometry.active_units(mu) == 2
    by_loop = 0
    for column in mu.T:
        mean = sum(column) / 100
        by_loop += sum((v - mean) ** 2 for v in column) / 99 > 0.01
    assert by_loop == 2


def test_active_directions_are_not_raised_by_mixing():
    rng = np.random.default_rng(0)
    heads = rng.normal(size=(2000, 8)) * np.array([1, 0.5, *[0.01] * 6])
    rotation, _ = np.linalg.qr(rng.normal(size=(8, 8)))
    mixed = heads @ rotation.T
    assert geometry.active_units(mixed) > geometry.active_units(heads) == 2
    for mu in (heads, mixed):
        eigenvalues = np.linalg.eigvalsh(np.cov(mu, rowvar=False))
        assert geometry.active_directions(geometry.covariance_eigenvalues(mu)) == 2
        assert np.sum(eigenvalues > 0.01) == 2


def test_a_large_eigenvalue_hides_small_ones():
    eigenvalues = geometry.covariance_eigenvalues(RNG.normal(size=(50, 3)) * [1e9, 1, 1e-3])
    with pytest.raises(ValueError, match=r"hides those near 0\.01"):
        geometry.active_directions(eigenvalues)


def rotated_gaussian(variances, n=400):
    """Embeddings whose sample covariance has exactly these eigenvalues."""
    rng = np.random.default_rng(2)
    d = len(variances)
    x = rng.normal(size=(n, d))
    x -= x.mean(axis=0)
    white = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T
    rotation = np.linalg.qr(rng.normal(size=(d, d)))[0]
    return white * np.sqrt(variances) @ rotation.T, rotation


def test_eigenvalues_of_the_covariance():
    variances = np.array([5.0, 2.0, 0.3, 1e-6])
    mu, rotation = rotated_gaussian(variances)
    np.testing.assert_allclose(geometry.covariance_eigenvalues(mu), variances, rtol=1e-6)
    np.testing.assert_allclose(geometry.covariance_eigenvalues(mu @ rotation), variances, rtol=1e-6)
    one = geometry.covariance_eigenvalues(mu[:, :1])
    np.testing.assert_allclose(one, [np.var(mu[:, 0], ddof=1)])


def test_total_correlation_of_two_is_the_mutual_information():
    """-log(1 - r^2) / 2 for two normals of correlation r, invariant to shift and scale."""
    mu, _ = rotated_gaussian([3.0, 0.5])
    mu = mu * [10, 0.1] + [1, -3]
    r = scipy.stats.pearsonr(*mu.T).statistic
    correlation = geometry.correlation(mu)
    expected = -0.5 * np.log(1 - r**2)
    assert geometry.gaussian_total_correlation(correlation) == pytest.approx(expected)
    assert geometry.off_diagonal_correlation(correlation) == pytest.approx(abs(r))


def test_total_correlation_is_the_kl_between_gaussians():
    mu, _ = rotated_gaussian([3.0, 1.0, 0.5, 0.2])
    covariance = np.cov(mu, rowvar=False)
    marginal = np.diag(np.diag(covariance))
    kl = 0.5 * (np.linalg.slogdet(marginal)[1] - np.linalg.slogdet(covariance)[1])
    found = geometry.gaussian_total_correlation(geometry.correlation(mu))
    assert found == pytest.approx(kl)
    # Monte Carlo of E[log p(z) - log prod p(z_j)].
    joint = scipy.stats.multivariate_normal(np.zeros(4), covariance)
    product = scipy.stats.multivariate_normal(np.zeros(4), marginal)
    z = joint.rvs(200_000, random_state=0)
    assert np.mean(joint.logpdf(z) - product.logpdf(z)) == pytest.approx(found, abs=0.01)


def test_total_correlation_of_independent_coordinates_is_the_stated_bias():
    found = [
        geometry.gaussian_total_correlation(
            geometry.correlation(np.random.default_rng(seed).normal(size=(2000, 20)))
        )
        for seed in range(20)
    ]
    assert np.mean(found) == pytest.approx(20 * 19 / (4 * 2000), rel=0.05)


def test_total_correlation_of_a_copy_is_infinite():
    x = RNG.normal(size=(50, 2))
    assert geometry.gaussian_total_correlation(geometry.correlation(np.c_[x, x[:, 0]])) == math.inf
    few = RNG.normal(size=(5, 9))
    assert geometry.gaussian_total_correlation(geometry.correlation(few)) == math.inf


def test_off_diagonal_correlation_is_the_loop_over_pairs():
    mu, _ = rotated_gaussian([3.0, 1.0, 0.5, 0.2])
    pairs = [
        abs(scipy.stats.pearsonr(mu[:, i], mu[:, j]).statistic)
        for i in range(4)
        for j in range(4)
        if i != j
    ]
    found = geometry.off_diagonal_correlation(geometry.correlation(mu))
    assert found == pytest.approx(np.mean(pairs))


def test_constant_coordinates_have_no_correlation():
    mu, _ = rotated_gaussian([3.0, 1.0, 0.5])
    with_constant = np.insert(mu, 1, 0.1, axis=1)
    np.testing.assert_allclose(geometry.correlation(with_constant), geometry.correlation(mu))


# --- the redundancy index ----------------------------------------------------------------------


def standardised_entries(coupling):
    entries = [value for (i, j), value in np.ndenumerate(coupling) if i != j]
    return (np.array(entries) - np.mean(entries)) / np.std(entries)


def test_redundancy_index_is_the_integral_over_distribution_functions():
    """The squared energy distance is 2 int (F - Phi)^2 (Székely and Rizzo 2013)."""
    coupling = RNG.uniform(-1, 1, size=(6, 6))
    entries = np.sort(standardised_entries(coupling))
    edges = np.r_[-12, entries, 12]
    integral = sum(
        scipy.integrate.quad(
            lambda t, f=i / 30: (f - scipy.stats.norm.cdf(t)) ** 2, *edges[i : i + 2]
        )[0]
        for i in range(31)
    )
    assert geometry.redundancy_index(coupling) == pytest.approx(2 * integral, rel=1e-6)


def test_redundancy_index_is_the_loop_over_pairs():
    coupling = RNG.standard_t(2, size=(5, 5))
    x = standardised_entries(coupling)
    among = np.mean([abs(a - b) for a in x for b in x])
    z = np.random.default_rng(3).normal(size=400_000)
    to_normal = np.mean([np.mean(np.abs(a - z)) for a in x])
    expected = 2 * to_normal - among - 2 / math.sqrt(math.pi)
    assert geometry.redundancy_index(coupling) == pytest.approx(expected, abs=0.01)


def test_redundancy_index_ignores_diagonal_scale_and_shift():
    coupling = RNG.normal(size=(20, 20))
    index = geometry.redundancy_index(coupling)
    moved = 7 * coupling + 3 + np.diag(RNG.normal(size=20) * 100)
    assert geometry.redundancy_index(moved) == pytest.approx(index)
    assert 0 < index < 0.01


def test_redundancy_index_tells_structure_from_noise():
    """Normal, then uniform, then sparse entries: further and further from a normal."""
    rng = np.random.default_rng(4)
    normal, uniform = rng.normal(size=(64, 64)), rng.uniform(size=(64, 64))
    sparse = normal * (rng.uniform(size=(64, 64)) < 0.05)
    indices = [geometry.redundancy_index(c) for c in (normal, uniform, sparse)]
    assert indices[0] < 0.002 < indices[1] < indices[2] / 5
