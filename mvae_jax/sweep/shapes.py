"""The shapes of the paper's trainings, as configurations without data."""

from ml_collections import FrozenConfigDict

from mvae_jax import config as config_lib

BATCH = 100
SHAPES = {784: (28, 28, 1), 3072: (32, 32, 3)}  # of the paper's images, by their pixels


def configuration(model: str, latent_size: int, pixels: int) -> FrozenConfigDict:
    """Return the release protocol's configuration for images of that size."""
    config = config_lib.base_config("digits", f"{model},{latent_size}")
    config.update({"image_shape": SHAPES[pixels], "pixel_scale": 1 / 255, "batch_size": BATCH})
    return FrozenConfigDict(config)
