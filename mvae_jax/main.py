"""Train, embed, evaluate and print the table of one configuration.

python -m mvae_jax.main --config=configs/digits.py:mvae,16
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

from mvae_jax import config as config_lib
from mvae_jax.config import ConfigError, exit_with

CONFIG = config_flags.DEFINE_config_file("config", None, "FILE.py:model,latent[,protocol]")
WORKDIR = flags.DEFINE_string("workdir", None, "the run folder; by default under ./runs")
DATA_DIR = flags.DEFINE_string("data_dir", None, "data files that are there, read before others")
OVERWRITE = flags.DEFINE_bool("overwrite", False, "move an earlier run's folder aside")


def main(_argv: Sequence[str]) -> None:
    """Runs the three stages; exit status 0: complete, 1: a seed failed, 2: usage."""
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)
    config = config_lib.validate(CONFIG.value)
    workdir = Path(WORKDIR.value or config_lib.default_workdir(config))

    # Imported here, so that a mistake in the flags is answered at once.
    from mvae_jax import evaluate, report, run
    from mvae_jax.checkpoint import CheckpointError
    from mvae_jax.datasets import DataError

    try:
        run.run(config, workdir, Path(DATA_DIR.value) if DATA_DIR.value else None, OVERWRITE.value)
    except (ConfigError, DataError) as error:
        exit_with(error)
    except (CheckpointError, run.RunError) as error:
        exit_with(error, status=1)
    except run.Interrupted as error:
        exit_with(error, status=130)
    complete = evaluate.score([workdir]) and report.render([workdir], workdir / "report")
    sys.exit(0 if complete else 1)


def entry_point() -> None:
    """Runs `main` on the command line, with mistakes answered in one line."""
    app.run(main, flags_parser=config_lib.parse_flags)


if __name__ == "__main__":
    entry_point()
