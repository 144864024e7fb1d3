"""MNIST Rotated: 62,000 digits, each turned by a random angle, 28 x 28 grey.

python -m mvae_jax.main --config=configs/mnist_rotated.py:mvae,16

Made from MNIST; --config.source=icml2007 reads the original files instead.
Costs 10 s per epoch for three seeds on one CPU core: 37 minutes.
Scores (3 seeds, images made anew): ELBO -128.3 nats, MSE 0.0129, probe accuracy 0.474, NMI 0.118;
in the author's release (icml2007, one seed): MSE 0.0157, probe accuracy 0.494, NMI 0.143.
"""

from ml_collections import ConfigDict

from mvae_jax.config import base_config


def get_config(argument: str = "") -> ConfigDict:
    return base_config("mnist_rotated", argument, source="regenerated")
