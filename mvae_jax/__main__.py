"""The command `mvae_jax`, or `python -m mvae_jax`: the same as `python -m mvae_jax.main`."""

from mvae_jax import terminal


def main() -> None:
    """Run mvae_jax.main."""
    terminal.prepare()
    from mvae_jax.main import entry_point

    entry_point()


if __name__ == "__main__":
    main()
