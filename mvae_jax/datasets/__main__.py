"""The catalogue on the command line.

python -m mvae_jax.datasets                          lists the data sets
python -m mvae_jax.datasets --prepare=cifar10        fetches one ahead, for nodes without a network
python -m mvae_jax.datasets --samples=samples.npz    writes a few images of each, for Figure 1

Exit status: 0 complete, 1 a data set could not be had (the reason is printed), 2 usage.
"""

import argparse
from pathlib import Path

from mvae_jax import paths, terminal
from mvae_jax.datasets import DataError, cache, catalogue, find_inputs, load, samples
from mvae_jax.datasets.catalogue import CATALOGUE
from mvae_jax.datasets.files import Inputs


def main(argv: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    flags = _flags().parse_args(argv)
    inputs = {"data_dir": flags.data_dir, "photographs": flags.photographs}
    failed = False
    for name in flags.prepare:
        try:
            dataset = load(name, source=flags.source, **inputs)
            print(f"{name}: {len(dataset.images):,} images are ready")
        except DataError as error:
            terminal.say(f"error: {error}")
            failed = True
    try:
        if flags.samples:
            missing = samples.write(flags.samples, flags.source, **inputs)
            for reason in missing.values():
                terminal.say(f"error: {reason}")
            print(f"{flags.samples}: {len(CATALOGUE) - len(missing)} of {len(CATALOGUE)} data sets")
            return int(failed or bool(missing))
        if not flags.prepare:
            print("\n".join(_listing(find_inputs(**inputs))))
    except DataError as error:
        terminal.say(f"error: {error}")
        return 1
    return int(failed)


def _flags() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m mvae_jax.datasets", allow_abbrev=False)
    add = parser.add_argument
    add("--prepare", action="append", default=[], choices=CATALOGUE, help="fetch and cache one")
    add("--samples", type=_npz, metavar="FILE.npz", help="write a few images of each data set")
    add("--source", default="", choices=("regenerated", "icml2007"), help="of the MNIST variants")
    add("--data_dir", type=paths.from_user, metavar="DIR", help="published files that are there")
    add("--photographs", type=paths.from_user, metavar="DIR", help="for mnist_background_images")
    return parser


def _npz(value: str) -> Path:
    if not value.endswith(".npz"):
        raise argparse.ArgumentTypeError(f"got '{value}'; allowed: a name that ends in .npz")
    return paths.from_user(value)


def _listing(inputs: Inputs) -> list[str]:
    """Return the table's lines, one for each data set and source."""
    form = "{:<24} {:<12} {:<21} {:>7}  {:<14}  {:<25}  {}"
    head = ("data set", "source", "images", "classes", "pixel scale", "paper split", "cached")
    rows = [form.format(*head)]
    for name, entry in CATALOGUE.items():
        for source, origin in entry.sources.items():
            if origin.cached:
                is_cached = cache.path(catalogue.key(name, source, inputs)).is_file()
                status = "yes" if is_cached else "no"
            else:
                status = "built in"
            shape = " x ".join(map(str, entry.shape))
            row = (name, source or "-", shape, entry.num_classes or "-", origin.pixel_scale)
            rows.append(form.format(*row, entry.paper_split, status))
    return [
        *rows,
        "The release protocol splits every class 80/20. Your own: --config.dataset=FILE.npz",
        f"Cache: {cache.path('').parent}",
    ]


if __name__ == "__main__":
    terminal.command(main)
