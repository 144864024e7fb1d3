"""The command `python -m mvae_jax.sweep.slurm`, which an installed package has too."""

from mvae_jax import terminal

if __name__ == "__main__":
    terminal.prepare()  # before the imports below, which take seconds

from mvae_jax.sweep.slurm import main

if __name__ == "__main__":
    terminal.command(main)
