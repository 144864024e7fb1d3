"""Many runs: the grid, the runner of one machine, SLURM, watching, and the whole paper.

Each command is a module: `python -m mvae_jax.sweep`, and `.slurm`, `.watch`, `.predict` and
`.reproduce` below it. docs/sweeps.md is the manual.
"""
