"""What is wrong in the paper's printed tables, with the figures that show it.

The tables are compared with the author's released figures, cell by cell: a printed figure matches
where it is the released one, rounded to the digits that were printed.
"""

import itertools
from collections import Counter, defaultdict
from collections.abc import Mapping
from decimal import Decimal

from mvae_jax.paper import reference
from mvae_jax.paper.cells import BASELINE, CELLS, LATENT_SIZES, TABLED
from mvae_jax.paper.reference import Key
from mvae_jax.paper.reproduction import EPOCHS
from mvae_jax.paper.tables import grid
from mvae_jax.report.formats import Grid
from mvae_jax.report.frame import Scores
from mvae_jax.report.metrics import describe

FALLING = (2, 4, 16)  # latent sizes, along which the error must fall


def matches(printed: str, released: str) -> bool:
    """Whether a printed figure is the released one; a half may have been rounded either way."""
    half = Decimal(5).scaleb(-len(printed.partition(".")[2]) - 1)
    return abs(Decimal(printed) - Decimal(released)) <= half


def misprints(*, corrected: bool = True) -> dict[Key, tuple[str, str]]:
    """Return the cells that differ from the release under that label: printed, released.

    Under the right one, NLL of CIFAR-10 at z=2 is a copy of another cell; the others differ in the
    last digit.
    """
    printed, released = reference.printed(corrected=corrected), reference.release()
    both = {key: (printed[key], released[key]) for key in released}
    return {key: pair for key, pair in both.items() if not matches(*pair)}


def labels() -> Grid:
    """Return, per table, which latent size each printed label stands for, and the matches."""
    all_cells = Counter(key.dataset for key in reference.release())
    unlike = [Counter(k.dataset for k in misprints(corrected=right)) for right in (False, True)]
    rows = []
    for dataset, numeral in reference.table_numbers().items():
        labels = reference.row_labels(dataset)
        wrong = [f"{printed} is {z}" for printed, z in labels.items() if printed != z]
        number = all_cells[dataset]
        counts = [f"{number - of[dataset]} of {number}" for of in unlike]
        rows.append((numeral, dataset, "; ".join(wrong) or "none", *counts))
    return grid("labels", rows)


def cells() -> Grid:
    """Return the cells that `misprints` finds."""
    rows = [
        (
            reference.table_numbers()[key.dataset],
            *(key.dataset, str(key.latent_size), key.model),
            *(describe(key.metric).title, printed, released),
        )
        for key, (printed, released) in misprints().items()
    ]
    return grid("misprints", rows)


def mse(found: Scores) -> Grid:
    """Return VAE's MSE by z, which must fall because a larger latent space holds the smaller.

    It is shown as printed, as released, and of our runs under the release protocol.
    """
    errors: dict[tuple[str, str], dict[int, Decimal | float]] = defaultdict(dict)
    for title, figures in (
        ("paper, as printed", reference.printed(corrected=False)),
        ("author's release", reference.release()),
    ):
        for dataset, z in CELLS:
            errors[dataset, title][z] = Decimal(figures[Key("mse", dataset, z, BASELINE)])
    for cell, run in found.cells.items():
        setting, z, model = cell
        summary = found.summary(cell, "mse")
        is_release = (setting.protocol, setting.variant) == ("release", "")
        if model == BASELINE and is_release and setting.dataset in TABLED and summary:
            epochs = run.config.get("num_epochs", EPOCHS)
            names = (setting.source, f"{epochs} epochs" if epochs != EPOCHS else "")
            title = ", ".join(filter(None, ("ours", *names)))
            errors[setting.dataset, title][z] = summary.mean
    rows = [
        (*where, *(f"{of[z]:.3f}" if z in of else "-" for z in LATENT_SIZES), _falls(of))
        for where, of in sorted(errors.items(), key=lambda row: TABLED.index(row[0][0]))
    ]
    return grid("mse", rows)


def _falls(errors: Mapping[int, Decimal | float]) -> str:
    """Say whether the errors, by latent size, fall along FALLING."""
    if not errors.keys() >= {*FALLING}:
        return "-"
    return "yes" if all(errors[a] > errors[b] for a, b in itertools.pairwise(FALLING)) else "no"
