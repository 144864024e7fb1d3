"""CIFAR-100: 60,000 natural images of 100 classes, 32 x 32 RGB.

python -m mvae_jax.main --config=configs/cifar100.py:mvae,256

Costs 200 epochs of 480 batches for each seed.
Scores in the author's release (one seed): MSE 0.0158, probe accuracy 0.194, NMI 0.225.
"""

from ml_collections import ConfigDict

from mvae_jax.config import base_config


def get_config(argument: str = "") -> ConfigDict:
    config = base_config("cifar100", argument)
    if config.protocol == "paper":
        config.likelihood = "gaussian"  # its variance is fixed at likelihood_variance per pixel
    return config
