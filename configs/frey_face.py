"""FreyFace: 1,965 video frames of one face, 28 x 20 grey, without labels.

python -m mvae_jax.main --config=configs/frey_face.py:mvae,32

Costs 200 epochs of 16 batches for each seed.
Scores in the author's release (one seed): MSE 0.00487 over the first 48 frames.
"""

from ml_collections import ConfigDict

from mvae_jax.config import base_config


def get_config(argument: str = "") -> ConfigDict:
    config = base_config("frey_face", argument)
    if config.protocol == "paper":
        config.likelihood = "gaussian"  # its variance is fixed at likelihood_variance per pixel
    return config
