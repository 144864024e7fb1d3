"""Scores saved embeddings with numpy and scikit-learn; imports no jax and no other stage.

Reads run folders (`config.json`, `embeddings/<replicate>.npz`, both described in the README) and
writes `metrics.json` into each, so that embeddings of any model from any tool can be scored.
"""

from mvae_jax.evaluate.scoring import score

__all__ = ["score"]
