"""The evidence that claims are judged by: the paper's tables, and our runs.

Only `from_runs`, `settings` and `ours` know what a run is.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from mvae_jax.paper import reference
from mvae_jax.paper.cells import BASELINE, CELLS, MODEL, PaperCell
from mvae_jax.paper.reproduction import is_short
from mvae_jax.report import pairs
from mvae_jax.report.cells import Run, Setting
from mvae_jax.report.frame import Scores


class Pair(NamedTuple):
    """One metric of both models in one cell, seed -> value, on the same seeds."""

    vae: Mapping[int, float]
    mvae: Mapping[int, float]


class Evidence(NamedTuple):
    """Pairs to judge claims by; published figures have one seed and are taken at their word.

    undefined: the cells that exist but have no such figure, for instance because it is infinite
    """

    title: str
    pairs: Mapping[tuple[str, PaperCell], Pair]
    published: bool
    undefined: frozenset[tuple[str, PaperCell]] = frozenset()


def published(*, corrected: bool) -> Evidence:
    """Return the paper's tables, their row labels as printed or corrected."""
    found = reference.printed(corrected=corrected)
    pairs = {
        (key.metric, (key.dataset, key.latent_size)): Pair(
            {0: float(found[key._replace(model=BASELINE)])}, {0: float(found[key])}
        )
        for key in found
        if key.model == MODEL
    }
    for place in CELLS:  # sizes are not printed, but the networks described can be counted
        vae, mvae = (reference.network_sizes(*place, model) for model in (BASELINE, MODEL))
        pairs |= {(name, place): Pair({0: vae[name]}, {0: mvae[name]}) for name in vae}
    title = f"the paper, {'row labels corrected' if corrected else 'as printed'}"
    return Evidence(title, pairs, published=True)


def from_runs(found: Scores, protocol: str, source: str = "") -> Evidence:
    """Return our runs that are evidence, of one protocol and source of images.

    Data sets that have but one source belong to every source.
    """
    both: dict[tuple[str, PaperCell], Pair] = {}
    undefined = set()
    for cell, vae in found.cells.items():
        setting, z, model = cell
        other = cell._replace(model=MODEL)
        if model != BASELINE or other not in found.cells or not _is_evidence(setting, vae):
            continue
        if setting.protocol != protocol or setting.source not in ("", source):
            continue
        mvae, place = found.cells[other], (setting.dataset, z)
        if vae.missing or mvae.missing or pairs.unlike(vae, mvae):
            continue
        for metric in found.metrics:
            x, y = found.of(cell, metric), found.of(other, metric)
            is_whole = x and x.keys() == y.keys() and not found.why_missing(cell, metric)
            if is_whole and (metric != "epoch_seconds" or _timed_alike(vae, mvae)):
                both[metric, place] = Pair(x, y)
        undefined |= {(metric, place) for metric in vae.absent.keys() | mvae.absent.keys()}
    title = f"our runs, {protocol} protocol" + (f", MNIST variants {source}" if source else "")
    return Evidence(title, both, published=False, undefined=frozenset(undefined - both.keys()))


def ours(found: Scores) -> Iterator[Evidence]:
    """Yield our runs by protocol and source of images."""
    judged = settings(found)
    for protocol in dict.fromkeys(setting.protocol for setting in judged):
        of_protocol = [setting for setting in judged if setting.protocol == protocol]
        sources = dict.fromkeys(setting.source for setting in of_protocol if setting.source)
        for source in sources or [""]:
            yield from_runs(found, protocol, source)


def settings(found: Scores) -> list[Setting]:
    """Return the settings of the runs that are evidence."""
    cells = found.cells.items()
    return list(dict.fromkeys(c.setting for c, run in cells if _is_evidence(c.setting, run)))


def _is_evidence(setting: Setting, run: Run) -> bool:
    """Whether a run is as the paper's: without tags and swept scalars, and trained as long."""
    return not setting.variant and not is_short(run.config)


def _timed_alike(vae: Run, mvae: Run) -> bool:
    """Whether both ran the same code on the same devices, with as many seeds in one program."""
    fields = ("devices", "processor", "git_revision")
    places = [[run.environment.get(field) for field in fields] for run in (vae, mvae)]
    modes = [(run.config.get("seed_mode"), len(run.replicates)) for run in (vae, mvae)]
    return places[0][0] is not None and places[0] == places[1] and modes[0] == modes[1]
