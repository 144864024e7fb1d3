"""Which metrics the report shows, in which order and where.

The records, how a metric is called and printed and which way is better, are evaluation's. One that
nobody has described is printed with four decimals and no arrow, so that whatever the scores hold
can be shown.
"""

from mvae_jax.evaluate.metrics import METRICS as COMPUTED
from mvae_jax.evaluate.record import Metric

PAPER = ("mse", "probe_accuracy", "probe_nll", "brier", "ece", "nmi", "ari")
HEADLINES = ("elbo", *PAPER)  # the metrics whose every comparison the page shows
# What a run's own table shows; the rest is in the report.
MAIN = ("elbo", "log_likelihood", "kl", *PAPER)
# Under which condition a metric stands; told in notes, not in rows.
CONDITIONS = ("probe_converged", "probe_converged_standardised", "iwae_k")
CALIBRATION = ("probe_nll", "brier", "ece")
STRUCTURE = ("nmi", "ari")
# Of the model, the training and the pictures, not of the embeddings.
MEASURED = (
    *("num_parameters", "multiply_adds", "epoch_seconds", "mse_first_48", "high_frequency_energy"),
    *("sweep_roughness", "sweep_monotonicity", "sweep_flatness"),
)
BOUND = ("elbo", "log_likelihood", "kl", "num_parameters")  # what the paper's tables leave out

# Training measures it, see done/<replicate>.json.
EPOCH_SECONDS = Metric("epoch_seconds", "epoch time", "s per seed", 4, -1, per_run=True)
KNOWN = COMPUTED | {EPOCH_SECONDS.name: EPOCH_SECONDS}
FIRST = ("elbo", "log_likelihood", "kl", "elbo_release", "iwae", "mse", "mse_mean", *PAPER[1:])
_rest = [name for name in COMPUTED if name not in (*MEASURED, *CONDITIONS)]
METRICS = {name: KNOWN[name] for name in (*FIRST, *_rest, *MEASURED)}  # in the report's order


def describe(name: str) -> Metric:
    """Return how a metric is shown, known or not."""
    return KNOWN.get(name, Metric(name, name.replace("_", " ")))
