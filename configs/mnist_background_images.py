"""MNIST Background Images: 62,000 digits on patches of natural photographs, 28 x 28 grey.

python -m mvae_jax.main --config=configs/mnist_background_images.py:mvae,16

Made from MNIST; --config.source=icml2007 reads the original files instead.
Costs 200 epochs of 496 batches for each seed.
Scores in the author's release (icml2007, one seed): MSE 0.0300, probe accuracy 0.672, NMI 0.215.
"""

from ml_collections import ConfigDict

from mvae_jax.config import base_config


def get_config(argument: str = "") -> ConfigDict:
    return base_config("mnist_background_images", argument, source="regenerated")
