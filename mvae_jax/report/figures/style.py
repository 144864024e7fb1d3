"""How the figures look: sizes in inches of a page, colours that everybody can tell apart.

No picture is larger than MOST_PIXELS a side, whatever it shows, and none depends on the user's own
settings of matplotlib.
"""

import hashlib
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from mvae_jax import escape
from mvae_jax.store import files

MOST_BYTES = 150  # of a file name, which has an ending yet to come
WIDTH = 7.0  # two columns of a paper
MOST_PIXELS = 4000  # of a picture's side, and of what is put into one
MOST_INCHES = 10.0  # of the height of one panel
MOST_COLUMNS = 6  # of a legend
MOST_SIGNS = 40  # of a name in a figure
DPI = 200
RC: Any = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "savefig.dpi": DPI,
    "figure.dpi": DPI,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "text.parse_math": False,  # a user's `$` is a dollar
}

# Okabe and Ito (2008), safe with every common colour blindness.
MODEL_COLOURS = {"vae": "#0072B2", "mvae": "#D55E00"}
OTHER_COLOURS = ("#009E73", "#CC79A7", "#56B4E9", "#000000")
MARKERS = {"vae": "o", "mvae": "s"}
# Paul Tol's muted scheme and black; classes are named in the plot as well.
CLASS_COLOURS = (
    *("#332288", "#88CCEE", "#44AA99", "#117733", "#999933"),
    *("#DDCC77", "#CC6677", "#882255", "#AA4499", "#000000"),
)


Item = TypeVar("Item")


@contextmanager
def context() -> Iterator[None]:
    """Draw by matplotlib's own defaults and RC: no matplotlibrc of the user's has a say."""
    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()
        mpl.rcParams.update(RC)
        warnings.simplefilter("ignore", UserWarning)  # signs that the font lacks, long names
        yield


def save(figure: Figure, path: Path, **options: Any) -> None:
    """Write a PNG file; what would be larger than MOST_PIXELS a side, at fewer dots per inch."""
    dpi = min(DPI, MOST_PIXELS / max(figure.get_size_inches()))
    files.write_bytes(path, partial(figure.savefig, format="png", dpi=dpi, **options))


def label(text: object) -> str:
    """Return a name as a figure shows it: on one line, and not longer than MOST_SIGNS."""
    line = escape.plain(text)
    return line if len(line) <= MOST_SIGNS else f"{line[: MOST_SIGNS - 1]}…"


def spread(items: Sequence[Item], most: int) -> list[Item]:
    """Return the items, or as many of them as are allowed, evenly spread from first to last."""
    if len(items) <= most:
        return list(items)
    return [items[round(i)] for i in np.linspace(0, len(items) - 1, most)]


def colour(model: str, models: Iterable[str]) -> str:
    """Return a model's colour: fixed for VAE and MVAE, then in order of name."""
    others = sorted(set(models) - MODEL_COLOURS.keys())
    if model in MODEL_COLOURS:
        return MODEL_COLOURS[model]
    return OTHER_COLOURS[others.index(model) % len(OTHER_COLOURS)]


def line(model: str, models: Iterable[str]) -> dict[str, Any]:
    """Return how a model's points are drawn, and its name for the legend."""
    marker = MARKERS.get(model, "^")
    look = {"color": colour(model, models), "marker": marker, "markersize": 3}
    return look | {"label": label(model)}


def panels(number: int, columns: int, height: float, **options: Any) -> tuple[Figure, list[Axes]]:
    """Return a figure of two columns' width with `number` axes, each `height` inches high."""
    columns = min(number, columns)
    rows = -(-number // columns)
    figure = Figure(figsize=(WIDTH, rows * height), layout="constrained")
    axes = np.ravel(figure.subplots(rows, columns, squeeze=False, **options)).tolist()
    for unused in axes[number:]:
        unused.set_visible(False)
    return figure, axes[:number]


def show(ax: Axes, picture: np.ndarray, **options: Any) -> AxesImage:
    """Draw an array of pixels alone: no ticks, no frame."""
    image = ax.imshow(picture, interpolation="nearest", **options)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    return image


def legend(figure: Figure, axes: Axes) -> None:
    """Put one legend above all panels, with each name once."""
    handles, labels = axes.get_legend_handles_labels()
    named = dict(zip(labels, handles, strict=True))
    columns = min(max(1, len(named)), MOST_COLUMNS)
    figure.legend(named.values(), named.keys(), loc="outside upper center", ncols=columns)


def file_name(text: str, also: str = "") -> str:
    """Return a text as a file name or an anchor; unlike texts have unlike names.

    It is no hidden file, no folder's `.` or `..`, and of a length that every file system takes.

    also: what else tells names apart
    """
    name = re.sub(r"[^\w.=-]+|^\.+", "_", text)
    name = name.encode()[:MOST_BYTES].decode(errors="ignore")
    digest = hashlib.sha256((also or text).encode(errors="surrogatepass")).hexdigest()
    return name if name == text and not also else f"{name}-{digest[:10]}"
