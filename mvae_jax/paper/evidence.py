"""The evidence that claims are judged by: the paper's tables, and our runs.

Only `from_runs`, `settings` and `ours` know what a run is.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from mvae_jax.paper import reference
from mvae_jax.paper.cells import CELLS, PaperCell
from mvae_jax.paper.reproduction import is_short
from mvae_jax.report import comparisons
from mvae_jax.report.cells import Cell, Scores, Setting
from mvae_jax.report.runs import BASELINE, MODEL, Runs


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


def from_runs(runs: Runs, protocol: str, source: str = "") -> Evidence:
    """Return our runs that are evidence, of one protocol and source of images.

    Data sets that have but one source belong to every source.
    """
    pairs: dict[tuple[str, PaperCell], Pair] = {}
    undefined = set()
    for (setting, z, model), vae in runs.cells.items():
        mvae = runs.cells.get(Cell(setting, z, MODEL))
        if model != BASELINE or mvae is None or not _is_evidence(setting, vae):
            continue
        if setting.protocol != protocol or setting.source not in ("", source):
            continue
        if comparisons.unlike(vae, mvae):
            continue
        place = (setting.dataset, z)
        for metric, values in comparisons.paired(vae, mvae):
            pairs[metric, place] = Pair(*values)
        undefined |= {(metric, place) for metric in vae.absent.keys() | mvae.absent.keys()}
        for metric in vae.per_run.keys() & mvae.per_run.keys():
            if metric != "epoch_seconds" or _timed_alike(vae, mvae):
                pair = Pair({0: vae.per_run[metric]}, {0: mvae.per_run[metric]})
                pairs[metric, place] = pair
    title = f"our runs, {protocol} protocol" + (f", MNIST variants {source}" if source else "")
    return Evidence(title, pairs, published=False, undefined=frozenset(undefined - pairs.keys()))


def ours(runs: Runs) -> Iterator[Evidence]:
    """Yield our runs by protocol and source of images."""
    judged = settings(runs)
    for protocol in dict.fromkeys(setting.protocol for setting in judged):
        of_protocol = [setting for setting in judged if setting.protocol == protocol]
        sources = dict.fromkeys(setting.source for setting in of_protocol if setting.source)
        for source in sources or [""]:
            yield from_runs(runs, protocol, source)


def settings(runs: Runs) -> list[Setting]:
    """Return the settings of the runs that are evidence."""
    cells = runs.cells.items()
    return list(dict.fromkeys(c.setting for c, scores in cells if _is_evidence(c.setting, scores)))


def _is_evidence(setting: Setting, scores: Scores) -> bool:
    """Whether a run is as the paper's: without tags and swept scalars, and trained as long."""
    return not setting.variant and not is_short(scores.config)


def _timed_alike(vae: Scores, mvae: Scores) -> bool:
    """Whether both ran the same code on the same devices, with as many seeds in one program."""
    fields = ("devices", "processor", "git_revision")
    places = [[scores.environment.get(field) for field in fields] for scores in (vae, mvae)]
    modes = [(s.config.get("seed_mode"), len(s.replicates)) for s in (vae, mvae)]
    return places[0][0] is not None and places[0] == places[1] and modes[0] == modes[1]
