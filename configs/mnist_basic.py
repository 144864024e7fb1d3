"""MNIST Basic: the first 62,000 of MNIST's 70,000 images, 28 x 28 grey.

python -m mvae_jax.main --config=configs/mnist_basic.py:mvae,16

Costs 200 epochs of 496 batches for each seed.
Scores in the author's release (one seed): MSE 0.0119, probe accuracy 0.910, NMI 0.641.
"""

from ml_collections import ConfigDict

from mvae_jax.config import base_config


def get_config(argument: str = "") -> ConfigDict:
    return base_config("mnist_basic", argument, source="regenerated")
