"""What the metrics are called, which way is better, and how they are printed.

A metric that is not listed here is printed with four decimals and no arrow, so that whatever the
scores hold can be shown.
"""

from typing import NamedTuple

ARROWS = {1: " ↑", -1: " ↓", 0: ""}


class Metric(NamedTuple):
    """How one metric is shown.

    better:  1 where higher values are better, -1 where lower ones are, 0 where neither
    per_run: whether it has one value per run, whatever the seed
    """

    title: str
    unit: str
    decimals: int
    better: int
    per_run: bool = False

    @property
    def heading(self) -> str:
        """Title and arrow, for the head of a column."""
        return self.title + ARROWS[self.better]

    @property
    def label(self) -> str:
        """Title, unit and arrow, for a row of its own."""
        unit = f" ({self.unit})" if self.unit else ""
        return self.title + unit + ARROWS[self.better]


METRICS = {
    "elbo": Metric("ELBO", "nats", 2, 1),
    "log_likelihood": Metric("log-likelihood", "nats", 2, 1),
    "kl": Metric("KL", "nats", 2, 0),
    "elbo_release": Metric("ELBO, batch means", "nats", 2, 1),
    "iwae": Metric("IWAE bound", "nats", 2, 1),
    "mse": Metric("MSE", "per pixel, sampled z", 5, -1),
    "mse_mean": Metric("MSE at the mean", "per pixel, mean z", 5, -1),
    "probe_accuracy": Metric("accuracy", "linear probe", 4, 1),
    "probe_nll": Metric("NLL", "linear probe, nats", 4, -1),
    "brier": Metric("Brier", "linear probe, summed over classes", 4, -1),
    "ece": Metric("ECE", "linear probe, 15 bins", 4, -1),
    "nmi": Metric("NMI", "k-means", 4, 1),
    "ari": Metric("ARI", "k-means", 4, 1),
    "brier_halved": Metric("Brier, halved", "linear probe", 4, -1),
    "ece_fixed": Metric("ECE with confidence 1", "linear probe, 15 bins", 4, -1),
    "probe_accuracy_standardised": Metric("accuracy", "probe, standardised mu", 4, 1),
    "probe_nll_standardised": Metric("NLL", "probe, standardised mu, nats", 4, -1),
    "brier_standardised": Metric("Brier", "probe, standardised mu", 4, -1),
    "brier_halved_standardised": Metric("Brier, halved", "probe, standardised mu", 4, -1),
    "ece_standardised": Metric("ECE", "probe, standardised mu", 4, -1),
    "ece_fixed_standardised": Metric("ECE with confidence 1", "probe, standardised mu", 4, -1),
    "nmi_standardised": Metric("NMI", "k-means, standardised mu", 4, 1),
    "ari_standardised": Metric("ARI", "k-means, standardised mu", 4, 1),
    "active_units": Metric("active units", "", 1, 1),
    "active_directions": Metric("active directions", "eigenvalues of Cov(mu)", 1, 1),
    "total_correlation": Metric("total correlation of mu", "nats", 2, -1),
    "off_diagonal_correlation": Metric("off-diagonal correlation of mu", "mean |r|", 4, -1),
    "redundancy_index": Metric("redundancy index of C", "", 4, 0),
    # Measured by this stage from the run folder's other files.
    "num_parameters": Metric("parameters", "", 0, -1, per_run=True),
    "multiply_adds": Metric("multiply-adds", "per example, forward", 0, -1, per_run=True),
    "epoch_seconds": Metric("epoch time", "s per seed", 4, -1, per_run=True),
    "mse_first_48": Metric("MSE, first 48 images", "per pixel, sampled z", 6, -1),
    "high_frequency_energy": Metric("high-frequency energy", "of the input's", 4, 1),
    "sweep_roughness": Metric("sweep roughness", "", 4, -1),
    "sweep_monotonicity": Metric("sweep monotonicity", "", 4, 1),
    "sweep_flatness": Metric("flat share of the sweep", "", 4, -1),
}

PAPER = ("mse", "probe_accuracy", "probe_nll", "brier", "ece", "nmi", "ari")
HEADLINES = ("elbo", *PAPER)  # the metrics whose every comparison the page shows
# Under which condition a metric stands; told in notes, not in rows.
CONDITIONS = ("probe_converged", "probe_converged_standardised", "iwae_k")
CALIBRATION = ("probe_nll", "brier", "ece")
STRUCTURE = ("nmi", "ari")
MEASURED = tuple(METRICS)[tuple(METRICS).index("num_parameters") :]  # by measures.py
BOUND = ("elbo", "log_likelihood", "kl", "num_parameters")  # what the paper's tables leave out


def describe(name: str) -> Metric:
    """Returns how a metric is shown, known or not."""
    return METRICS.get(name, Metric(name.replace("_", " "), "", 4, 0))
