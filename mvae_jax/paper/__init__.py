"""The study of this paper: cells, claims and verdicts, errata, reference figures, reproduction."""

import mvae_jax.report  # noqa: F401  first, as long as it imports modules of this room
