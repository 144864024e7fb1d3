"""The page of the reproduction: complete, computed, and plain about what is wrong in the paper."""

import os
import re
import statistics
from decimal import Decimal
from pathlib import Path

import pytest

from mvae_jax.paper import audit, document, errata, reference, reproduction
from mvae_jax.paper.reference import Key
from mvae_jax.report import figures
from mvae_jax.report.cells import Cell, Setting
from mvae_jax.report.metrics import describe
from mvae_jax.report.statistics import ALPHA
from tests.fake_runs import SEEDS, comparison, read_report, write_paper, write_run


def grids(root):
    found = (errata.labels(), errata.cells(), errata.mse(read_report(root).scores))
    return {grid.title.partition(":")[0]: grid for grid in found}


@pytest.mark.parametrize(
    ("printed", "released", "same"),
    [
        *(("0.572", "0.571475", False), ("0.571", "0.571475", True), ("1.889", "2.16", False)),
        *(
            ("0.12", "0.125", True),
            ("0.13", "0.125", True),
            ("3", "3.4", True),
            ("3", "3.6", False),
        ),
    ],
)
def test_a_match_is_to_the_printed_digits(printed, released, same):
    assert errata.matches(printed, released) == same


def test_the_wrong_labels_and_cells(tmp_path):
    found = grids(tmp_path)
    labels = {row[0]: row[2] for row in found["Row labels"].rows}
    assert labels["I"] == "none"
    assert labels["II"] == "256 is 512; 512 is 256"
    assert {labels[n] for n in ("III", "IV", "V", "VI", "VII")} == {
        "2 is 16; 4 is 256; 16 is 2; 256 is 4"
    }
    corrected = [row[4] for row in found["Row labels"].rows]
    assert sorted(corrected) == ["83 of 84"] * 4 + ["84 of 84"] * 3
    assert set(errata.misprints()) == {
        Key("probe_nll", "cifar10", 2, "mvae"),
        Key("nmi", "mnist_basic", 512, "vae"),
        Key("probe_accuracy", "mnist_background_images", 2, "vae"),
        Key("probe_accuracy", "mnist_background_random", 16, "vae"),
    }


def test_mse_identifies_the_rows(tmp_path):
    """As printed it does not fall with z on five tables; as released, and as ours, it does."""
    for z, mse in ((2, 0.04), (4, 0.03), (8, 0.035), (16, 0.01)):  # 8 is none of the paper's
        write_run(tmp_path, "vae", z, {"mse": dict.fromkeys(SEEDS, mse)}, dataset="mnist_basic")
    rows = {tuple(row[:2]): row for row in grids(tmp_path)["VAE's MSE by latent size"].rows}
    falls = {where: row[-1] for where, row in rows.items()}
    wrong = [dataset for (dataset, figures), fell in falls.items() if fell == "no"]
    assert len(wrong) == 5
    assert all(falls[dataset, "paper, as printed"] == "no" for dataset in wrong)
    ours = rows["mnist_basic", "ours"]
    assert list(ours[2:]) == ["0.040", "0.030", "0.010", "-", "-", "-", "yes"]


def test_the_page_holds_everything(tmp_path):
    release = reference.release()
    for model in ("vae", "mvae"):
        values = {}
        for metric in ("mse", "nmi"):
            value = float(release[Key(metric, "mnist_basic", 16, model)])
            spread = 1e-4 * value
            shift = 0 if metric == "mse" else 0.1
            values[metric] = {s: value + shift + spread * (i - 2) for i, s in enumerate(SEEDS)}
        config = {"likelihood": "bernoulli", "couple_mean": True}
        write_run(tmp_path, model, 16, values, dataset="mnist_basic", **config)
    path = tmp_path / "REPRODUCTION.md"
    report = read_report(tmp_path)
    drawn = [
        figures.Drawn("digits: plot", "a caption", tmp_path / "figures" / "a plot.png"),
        figures.Drawn(
            *("frey_face, release protocol: sweeps", "a caption"), tmp_path / "figures/sweeps.png"
        ),
    ]
    findings = audit.findings(report.scores)
    document.write(path, report, drawn, findings)
    text = path.read_text()
    headings = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    assert headings == [
        *("In short", "The paper's claims", "Ours, the author's release, the paper", "Figures"),
        *("Errata of the paper", "What was run"),
    ]
    assert "82 of the paper's 84 cells" in text
    assert "2 of the paper's 84 cells" in text.partition("## What was run")[0]
    (row,) = re.findall(r"\|mnist_basic, release protocol\|(mvae.*)", text)
    shown = row.split("|")[:6]
    assert shown == ["mvae", "16", "5", "200", "bernoulli", "C m(x)"]
    assert "- vae and mvae on mnist_basic: z = 2, 4, 32, 256, 512" in text
    misses = text.partition("outside our intervals")[2].partition("\n## ")[0]
    assert misses.count("|NMI|") == 2
    assert "|MSE|" not in misses
    outside = [row.split("|") for row in misses.splitlines() if row.startswith("|mnist_basic")]
    assert {row[-2].strip() for row in outside} == {"open, or chance"}
    distances = [abs(float(row[-3])) for row in outside]
    assert distances == sorted(distances, reverse=True)
    assert f"{14 - len(outside)} of 14 released figures" in text
    assert "of 14 figures of the release's images and probes, 5% " in misses
    assert "outside, 0.7, where" in misses
    assert "- digits: [plot](figures/a%20plot.png)\n" in text
    assert text.count("- digits: ") == 1
    assert (
        "**The paper's Figure 4.** a caption\n\n"
        "![frey_face, release protocol: sweeps](figures/sweeps.png)\n"
    ) in text
    assert "14 of the released probes" in text
    released, printed = (Key("mse", "mnist_basic", 16, model) for model in ("vae", "mvae"))
    assert f"|{float(release[released]):.5f}|0.0121|" in text
    assert f"|{float(release[printed]):.5f}|0.0119|" in text


def test_what_the_page_leaves_out_is_in_the_report(tmp_path):
    values = {"mse": dict.fromkeys(SEEDS, 0.5)}
    for name, coupled in (("", False), ("coupled", True)):
        config = {"tag": name, "folder": f"run{name}", "couple_mean": coupled}
        write_run(tmp_path, "mvae", 16, values, dataset="mnist_basic", **config)
    write_paper(tmp_path, tmp_path / "out", draw=False)
    power = (tmp_path / "out" / "power.txt").read_text()
    assert re.search(r"(?m)^5 .*\b13%", power)  # at 5 seeds and 2 sd
    assert "falls from 2 to 16" in (tmp_path / "out" / "errata.txt").read_text()
    assert "+0.00000" in (tmp_path / "out" / "couplings.txt").read_text()


@pytest.mark.parametrize("epochs", [5, 200])
def test_what_was_trained_for_less_is_said(tmp_path, epochs):
    for model in ("vae", "mvae"):
        values = {"nmi": dict.fromkeys(SEEDS, 0.5)}
        write_run(tmp_path, model, 16, values, dataset="cifar10", num_epochs=epochs)
    report = read_report(tmp_path)
    drawn = [figures.Drawn("cifar10, release protocol: plot", "a caption", tmp_path / "plot.png")]
    page = tmp_path / "page.md"
    document.write(page, report, drawn, audit.findings(report.scores))
    text, is_whole = page.read_text().partition("## The paper's claims")[0], epochs == 200
    assert f"with 5 seeds and {epochs} epochs" in text
    assert ("were compared in 7 figures" in text) == is_whole
    assert ("7 figures after fewer than 200 epochs" in text) != is_whole
    assert ("evidence of our runs" in text) == is_whole
    told = ", 5 epochs" if epochs == 5 else ""
    assert f"- cifar10, release protocol{told}: [plot](plot.png)" in page.read_text()
    assert ("### Table I, cifar10, 5 seeds" in page.read_text()) == is_whole


def test_a_figure_of_no_table_has_a_heading(tmp_path):
    drawn = figures.Drawn("Data sets", "a caption", tmp_path / "data_sets.png")
    assert document.by_setting([drawn]) == {"Data sets": [("Data sets", drawn)]}


def one_figure(setting, metric, z, release, unconverged, *ours):
    """A figure of a VAE as `reproduction.figures` has it; ours: seeds, mean, sd, low and high."""
    seeds, *numbers = ours
    where = (setting, setting.dataset, setting.source, z, "vae", metric, seeds, 200, "")
    return reproduction.judged([(*where, *numbers, release, release, unconverged)])


def test_a_miss_has_all_its_known_reasons():
    setting = Setting("mnist_rotated", "regenerated", "release", "")
    found = one_figure(setting, "probe_nll", 256, "2", True, 3, 1.0, 0.1, 0.9, 1.1)
    (row,) = document.misses(found).rows
    assert row[-1] == "images made anew, released probe unconverged"


def test_misses_are_in_half_widths():
    setting = Setting("mnist_basic", "", "release", "")
    figure = one_figure(setting, "nmi", 16, "0.800000", False, 5, 0.5, 0.1, 0.4, 0.6)
    (row,) = document.misses(figure).rows
    assert row[-2] == "+3.0"
    assert Decimal(row[4]) == Decimal("0.8")


def test_the_committed_page_is_that_of_the_committed_results(tmp_path, monkeypatch, capsys):
    root = Path(__file__).parent.parent
    monkeypatch.chdir(root)
    page = tmp_path / "page.md"
    write_paper(Path("launch/results"), tmp_path / "out", page, draw=False)

    text = (root / "REPRODUCTION.md").read_text()
    relative = os.path.relpath(root / "launch/results", tmp_path)  # the links are of the page
    assert page.read_text().replace(relative, "launch/results") == text
    assert len(text.encode()) <= 25_000
    links = re.findall(r"\]\((.*?)\)", text)
    assert len([link for link in links if link.endswith(".png")]) > 10
    assert all((root / link).is_file() for link in links)


def test_the_readme_shows_the_committed_results():
    """Its table, what is bold there, and the shares of released figures inside our intervals."""
    root = Path(__file__).parent.parent
    readme = (root / "README.md").read_text()
    found, compared = read_report(root / "launch/results")
    setting = Setting("mnist_basic", "regenerated", "release", "")
    of_elbo = compared.by_table()[setting].query("metric == 'elbo'")
    sizes = sorted(of_elbo.latent_size)
    table = readme.partition("## What comes out")[2].partition("## ")[0]
    shown = [row.strip("| ").split(" | ") for row in re.findall(r"(?m)^\| \d.*$", table)]
    assert [int(row[0]) for row in shown] == sizes
    for z, *row in shown:
        expected = []
        for metric, decimals in (("elbo", 2), ("probe_accuracy", 4), ("mse", 5)):
            difference = comparison(compared, metric, Cell(setting, int(z), "mvae"))
            gain = difference.difference * describe(metric).better
            for model, is_better in (("vae", gain < 0), ("mvae", gain > 0)):
                seeds = found.of(Cell(setting, int(z), model), metric).values()
                mean, sd = statistics.mean(seeds), statistics.stdev(seeds)
                bold = "**" if difference.p_holm < ALPHA and is_better else ""
                expected.append(f"{bold}{mean:.{decimals}f} ± {sd:.{decimals}f}{bold}")
                if metric == "probe_accuracy":
                    released = reference.release()[Key(metric, "mnist_basic", int(z), model)]
                    expected.append(f"{float(released):.4f}")
        assert row == expected
    page = (root / "REPRODUCTION.md").read_text().partition("## What was run")[0]
    text = " ".join(table.split())
    for pattern, sentence in (
        (
            r"(\d+ of \d+) released figures",
            "{} released figures of MNIST Basic and Fashion-MNIST lie",
        ),
        (r"(\d+ of \d+) \(\d+%\), released probe", "{} whose released probe had not converged"),
        (r"(\d+ of \d+) \(\d+%\), images made anew", "rotations are drawn anew, {}."),
    ):
        assert sentence.format(*re.findall(pattern, page)) in text
