"""MNIST Basic: the first 62,000 of MNIST's 70,000 images, 28 x 28 grey.

python -m mvae_jax.main --config=configs/mnist_basic.py:mvae,16

Costs 5 to 10 s per epoch for three seeds on two CPU cores: 39 minutes on a busy machine.
Scores (3 seeds): ELBO -100.4 nats over batches, MSE 0.0117, probe accuracy 0.910, NMI 0.624;
in the author's release (one seed): -100.6, 0.0119, 0.910, 0.641.
"""

from ml_collections import ConfigDict

from mvae_jax.config import base_config


def get_config(argument: str = "") -> ConfigDict:
    return base_config("mnist_basic", argument, source="regenerated")
