"""What the evidence says of the paper's claims: one rule for all of them.

Three bodies of evidence answer: the paper's tables as printed, the same with their row labels
corrected, and our runs. Gains are signed so that positive favours MVAE.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import scipy.stats

from mvae_jax.paper import reference
from mvae_jax.paper.claims import CELLS, CLAIMS, COST, LINEAR, Claim, Growth, Place
from mvae_jax.paper.reproduction import EPOCHS, is_short
from mvae_jax.report import comparisons
from mvae_jax.report.cells import Cell, Scores, Setting
from mvae_jax.report.formats import Bold, Grid
from mvae_jax.report.metrics import PAPER, describe
from mvae_jax.report.runs import BASELINE, MODEL, Runs
from mvae_jax.report.statistics import ALPHA, sign_test, summarise

NO_RUNS, NOT_PUBLISHED = "no such runs", "not published"
SUPPORTED, NOT_SUPPORTED, UNDECIDED = "supported", "not supported", "undecided"
NOTES = [
    "The claims are paraphrased. Gains are signed so that positive favours MVAE. Brackets "
    "hold 95% intervals over seeds; gains averaged over cells are shares of VAE's value. "
    "Supported: every interval favours MVAE. Not supported: one favours VAE, after "
    "Bonferroni's correction over the claim's quantities.",
    "Learned numbers and multiply-adds of the networks that the paper describes are counted. "
    "A plane of two coordinates that a model leaves unused is flat, smooth and monotone: "
    "the sweeps' quantities say as much of the axes as of the decoder.",
    "The paper's figures are of one seed each and have no interval; their columns say "
    "whether the tables agree with the text, not whether a difference is real. Averages "
    "are judged by a sign test over cells. A cell misprinted beside its label (CIFAR-10 "
    "z=2, MVAE's NLL) stands as printed in both columns.",
    "Undecided: the evidence is not there, is of a part of the cells, or its intervals "
    f"leave both answers open. Runs of fewer than {EPOCHS} epochs are no evidence.",
]


class Verdict(NamedTuple):
    """What one body of evidence says of a claim.

    detail:  the figures behind it; empty where there are none
    lacking: how much of the evidence is there; empty where all is
    """

    verdict: str
    seeds: int
    detail: str
    lacking: str = ""

    @property
    def text(self) -> Bold:
        """The verdict, and what it rests on."""
        at = ""
        if self.verdict == UNDECIDED and self.seeds:
            at = f" at {self.seeds} seed" + "s" * (self.seeds > 1)
        behind = f"{self.detail} ({self.lacking})" if self.lacking else self.detail
        return Bold(f"{self.verdict}{at}", f": {behind if self.detail else self.lacking}")


class Pair(NamedTuple):
    """One metric of both models in one cell, seed -> value, on the same seeds."""

    vae: Mapping[int, float]
    mvae: Mapping[int, float]


class Evidence(NamedTuple):
    """Pairs to judge claims by; published figures have one seed and are taken at their word.

    undefined: the cells that are there and have no such figure, as where it is infinite
    """

    title: str
    pairs: Mapping[tuple[str, Place], Pair]
    published: bool
    undefined: frozenset[tuple[str, Place]] = frozenset()


Gains = dict[str, dict[str, np.ndarray]]  # metric -> unit -> MVAE's gain [seeds]


# --- the rule ----------------------------------------------------------------------------------


class Quantity(NamedTuple):
    """One number that must favour MVAE: its gains [units, seeds], and whether seeds vary it."""

    name: str
    gains: np.ndarray
    per_run: bool


def judge(claim: Claim, evidence: Evidence) -> Verdict:
    """Returns what the evidence says of the claim.

    With seeds: supported where the 95% interval of every quantity lies above minus the margin
    (all must, so none needs a correction); not supported where that of one lies below it at
    95% over the claim's quantities together (one suffices, so Bonferroni). Published figures,
    and what does not vary with the seed, have no interval: a claim on each unit is supported
    where none is worse and, without a margin, one is better; a claim on the average where a
    sign test over units favours MVAE in every metric, and not where one favours VAE. A claim is
    not supported by a part of its cells.
    """
    found = _gains(claim, evidence)
    quantities = list(_quantities(claim, evidence, found))
    if not quantities:
        return Verdict(UNDECIDED, 0, "", _nothing(claim, evidence))
    seeds = min(quantity.gains.shape[1] for quantity in quantities)
    counted = all(quantity.per_run for quantity in quantities)
    point = evidence.published or counted
    margin = 0.0 if evidence.published and not counted else claim.margin
    if point:
        verdict, detail = (_judge_each if claim.each else _judge_average)(claim, quantities, margin)
    elif seeds < 2:
        verdict, detail = UNDECIDED, _judge_each(claim, quantities, margin)[1]
    else:
        verdict, detail = _judge_intervals(claim, quantities, margin)
    there, lacking = sum(map(len, found.values())), ""
    undefined = sum(
        not evidence.undefined.isdisjoint((metric, place) for place in (*unit.cells, *unit.less))
        for metric in claim.metrics
        for unit in claim.units
    )
    if undefined:
        detail += f"; {undefined} undefined"
    if there + undefined < (named := len(claim.metrics) * len(claim.units)):
        lacking = f"{there} of {named} there"
        if verdict == SUPPORTED or not claim.each:
            verdict = UNDECIDED
    return Verdict(verdict, 0 if point else seeds, detail, lacking)


def _nothing(claim: Claim, evidence: Evidence) -> str:
    """Returns why the evidence has no unit of the claim."""
    if evidence.published:
        return NOT_PUBLISHED
    cells = {place for unit in claim.units for place in (*unit.cells, *unit.less)}
    there = {place for metric, place in evidence.pairs if metric in claim.metrics} & cells
    return f"{len(there)} of {len(cells)} cells there" if there else NO_RUNS


def _gains(claim: Claim, evidence: Evidence) -> Gains:
    """Returns MVAE's gains in the units of which every cell is there.

    On the seeds that the unit's cells share; for a claim on the average, that all cells do.
    """
    found: Gains = {}
    for metric in claim.metrics:
        pairs = {
            unit: [evidence.pairs.get((metric, place)) for place in (*unit.cells, *unit.less)]
            for unit in claim.units
        }
        whole = {unit: [pair for pair in of if pair] for unit, of in pairs.items() if all(of)}
        every = [pair for of in whole.values() for pair in of]
        for unit, of_unit in whole.items():
            shared = of_unit if claim.each else every
            seeds = sorted(set.intersection(*(set(pair.vae) for pair in shared)))
            if not seeds:
                continue
            number, less = len(unit.cells), len(unit.less)
            signs = np.repeat([1 / number, -1 / max(1, less)], [number, less])
            relative = claim.margin > 0 or not claim.each
            gains = [_gain(metric, pair, seeds, relative) for pair in of_unit]
            found.setdefault(metric, {})[unit.name] = signs @ np.array(gains)
    return found


def _quantities(claim: Claim, evidence: Evidence, found: Gains) -> Iterator[Quantity]:
    """Yields one quantity per metric and unit, or per metric for a claim on the average.

    Where the claim has a limit, also what MVAE's own value keeps from it.
    """
    for metric, of_units in found.items():
        shown = describe(metric)
        if not claim.each:
            yield Quantity(shown.title, np.array(list(of_units.values())), shown.per_run)
            continue
        for name, gains in of_units.items():
            yield Quantity(f"{shown.title} {name}", gains[None], shown.per_run)
        for unit in claim.units if claim.limit is not None else ():
            if unit.name in of_units:
                values = np.array(list(evidence.pairs[metric, unit.cells[0]].mvae.values()))
                name = f"MVAE's own {shown.title} {unit.name}, from the {claim.limit:g} allowed,"
                yield Quantity(name, shown.better * (values - claim.limit)[None], shown.per_run)


def _gain(metric: str, pair: Pair, seeds: list[int], relative: bool) -> list[float]:
    """Returns MVAE's gain for each seed; as a share of VAE's mean where it is relative."""
    scale = abs(float(np.mean([pair.vae[seed] for seed in seeds]))) if relative else 1.0
    better = describe(metric).better
    # Rounded, so that figures which print the same tie.
    return [round(better * (pair.mvae[seed] - pair.vae[seed]) / scale, 10) for seed in seeds]


def _judge_each(claim: Claim, quantities: list[Quantity], margin: float) -> tuple[str, str]:
    gains = np.concatenate([quantity.gains.mean(axis=1) for quantity in quantities])
    better, worse = int((gains > margin).sum()), int((gains < -margin).sum())
    tied = "tied" if margin == 0 else f"within {margin:.0%}"
    detail = f"{better} better, {len(gains) - better - worse} {tied}, {worse} worse"
    if worse:
        name = "mixed" if better or (margin and better + worse < len(gains)) else "contradicted"
        return NOT_SUPPORTED, f"{name}, {detail}"
    return (SUPPORTED if better or margin else UNDECIDED), detail


def _judge_average(claim: Claim, quantities: list[Quantity], margin: float) -> tuple[str, str]:
    details, tests = [], []
    for quantity in quantities:
        test = sign_test(quantity.gains.mean(axis=1) + margin)
        tests.append(test)
        counts = f"{test.wins} better, {test.ties} tied, {test.losses} worse"
        details.append(f"{quantity.name} {counts} (sign test p {comparisons.format_p(test.p)})")
    detail = "; ".join(details)
    if any(test.losses > test.wins and test.p < ALPHA for test in tests):
        return NOT_SUPPORTED, detail
    return (SUPPORTED if all(test.p < ALPHA for test in tests) else UNDECIDED), detail


def _judge_intervals(claim: Claim, quantities: list[Quantity], margin: float) -> tuple[str, str]:
    details, above, below = [], 0, 0
    for quantity in quantities:
        gains = quantity.gains.mean(axis=0).tolist()
        summary = summarise(gains)
        low, high = summary.interval or (-math.inf, math.inf)
        above += low > -margin
        _, joint_high = summarise(gains, 1 - ALPHA / len(quantities)).interval or (0, math.inf)
        below += joint_high < -margin
        details.append(f"{quantity.name} {summary.mean:+.3g} [{low:+.3g}, {high:+.3g}]")
    if len(details) > len(PAPER):  # too many to list
        rest = len(details) - above - below
        details = [f"{above} above, {below} below, {rest} across {-margin:g} of {len(details)}"]
    verdict = NOT_SUPPORTED if below else SUPPORTED if above == len(quantities) else UNDECIDED
    return verdict, ("mixed, " if above and below else "") + "; ".join(details)


def judge_growth(claim: Growth, evidence: Evidence) -> Verdict:
    """Returns whether the added cost grows no faster than linearly with z, per data set."""
    details, verdicts = [], []
    by_data_set: dict[tuple[str, str], dict[int, Pair]] = {}
    for (metric, (dataset, z)), pair in evidence.pairs.items():
        by_data_set.setdefault((metric, dataset), {})[z] = pair
    for metric in claim.metrics:
        for dataset in (of for name, of in by_data_set if name == metric):
            added = {
                z: float(np.mean(list(pair.mvae.values())) - np.mean(list(pair.vae.values())))
                for z, pair in sorted(by_data_set[metric, dataset].items())
            }
            free = [z for z, cost in added.items() if cost <= 0]
            if free:
                at = ", ".join(map(str, free))
                details.append(f"{describe(metric).title} {dataset}: nothing added at z={at}")
            points = [(math.log(z), math.log(cost)) for z, cost in added.items() if cost > 0]
            if free or len(points) < 3:
                verdicts.append(UNDECIDED)
                continue
            fit = scipy.stats.linregress(*zip(*points, strict=True))
            wide = float(fit.stderr) * scipy.stats.t.ppf(1 - ALPHA / 2, len(points) - 2)
            details.append(
                f"{describe(metric).title} {dataset} z^{fit.slope:.2f} "
                f"[{fit.slope - wide:.2f}, {fit.slope + wide:.2f}]"
            )
            verdicts.append(
                SUPPORTED
                if fit.slope + wide <= LINEAR
                else NOT_SUPPORTED
                if fit.slope - wide > LINEAR
                else UNDECIDED
            )
    if not details:
        sizes = {place for (metric, place) in evidence.pairs if metric in claim.metrics}
        lacking = "needs three latent sizes of both" if sizes else NO_RUNS
        return Verdict(UNDECIDED, 0, "", lacking)
    for verdict in (NOT_SUPPORTED, UNDECIDED, SUPPORTED):
        if verdict in verdicts:
            return Verdict(verdict, 0, "; ".join(details))
    raise AssertionError


# --- the evidence ------------------------------------------------------------------------------


def published(*, corrected: bool) -> Evidence:
    """Returns the paper's tables, their row labels as printed or corrected."""
    found = reference.printed(corrected=corrected)
    pairs = {
        (key.metric, (key.dataset, key.latent_size)): Pair(
            {0: float(found[key._replace(model=BASELINE)])}, {0: float(found[key])}
        )
        for key in found
        if key.model == MODEL
    }
    for place in CELLS:  # of the networks described: counted, where nothing is printed
        vae, mvae = (reference.network_sizes(*place, model) for model in (BASELINE, MODEL))
        pairs |= {(name, place): Pair({0: vae[name]}, {0: mvae[name]}) for name in vae}
    title = f"the paper, {'row labels corrected' if corrected else 'as printed'}"
    return Evidence(title, pairs, published=True)


def from_runs(runs: Runs, protocol: str, source: str = "") -> Evidence:
    """Returns our runs that are evidence, of one protocol and source of images.

    Data sets that have but one source belong to every source.
    """
    pairs: dict[tuple[str, Place], Pair] = {}
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


def _timed_alike(vae: Scores, mvae: Scores) -> bool:
    """Whether both ran the same code on the same devices, with as many seeds in one program."""
    fields = ("devices", "processor", "git_revision")
    places = [[scores.environment.get(field) for field in fields] for scores in (vae, mvae)]
    modes = [(s.config.get("seed_mode"), len(s.replicates)) for s in (vae, mvae)]
    return places[0][0] is not None and places[0] == places[1] and modes[0] == modes[1]


def audit(evidence: Evidence) -> list[Verdict]:
    """Returns the verdict on each of CLAIMS, then on COST."""
    return [*(judge(claim, evidence) for claim in CLAIMS), judge_growth(COST, evidence)]


def settings(runs: Runs) -> list[Setting]:
    """Returns the settings of the runs that are evidence."""
    cells = runs.cells.items()
    return list(dict.fromkeys(c.setting for c, scores in cells if _is_evidence(c.setting, scores)))


def _is_evidence(setting: Setting, scores: Scores) -> bool:
    """Whether a run is as the paper's: without tags and swept scalars, and trained as long."""
    return not setting.variant and not is_short(scores.config)


def ours(runs: Runs) -> Iterator[Evidence]:
    """Yields our runs by protocol and source of images."""
    judged = settings(runs)
    for protocol in dict.fromkeys(setting.protocol for setting in judged):
        of_protocol = [setting for setting in judged if setting.protocol == protocol]
        sources = dict.fromkeys(setting.source for setting in of_protocol if setting.source)
        for source in sources or [""]:
            yield from_runs(runs, protocol, source)


class Finding(NamedTuple):
    """One claim, and what each body of evidence says of it, by the body's title."""

    claim: Claim | Growth
    verdicts: dict[str, Verdict]


def findings(runs: Runs) -> list[Finding]:
    """Returns every claim with its verdicts: as printed, with labels corrected, on our runs."""
    bodies = [published(corrected=False), published(corrected=True), *ours(runs)]
    rows = zip(*map(audit, bodies), strict=True)
    titles = [body.title for body in bodies]
    claims: list[Claim | Growth] = [*CLAIMS, COST]
    return [
        Finding(claim, dict(zip(titles, row, strict=True)))
        for claim, row in zip(claims, rows, strict=True)
    ]


def table(found: Sequence[Finding]) -> Grid:
    """Returns one row per claim, one column per body of evidence."""
    rows = [
        (f.claim.where, f.claim.says, f.claim.tested_by, *(v.text for v in f.verdicts.values()))
        for f in found
    ]
    titles = list(found[0].verdicts)
    return Grid(
        "What the paper claims, and what the figures say",
        ("section", "claim", "tested by", *titles),
        rows,
        notes=NOTES,
        widths=(9, 26, 26, *[32] * len(titles)),
    )
