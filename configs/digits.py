"""scikit-learn's digits: 1,797 real images of 8 x 8 pixels that need no download.

python -m mvae_jax.main --config=configs/digits.py:mvae,16

Costs 200 epochs of 15 batches for each seed. The author's release has no figures for it.
"""

from ml_collections import ConfigDict

from mvae_jax.config import base_config


def get_config(argument: str = "") -> ConfigDict:
    return base_config("digits", argument)
