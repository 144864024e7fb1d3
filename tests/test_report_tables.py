"""The paper's tables: layout, order, bold, and the four formats."""

import csv
import re
import shutil
import subprocess

import numpy as np
import pytest

from mvae_jax.report import formats, render
from tests.fake_runs import SEEDS, draw, write_paper, write_run

# Written in the order in which names sort, which put the paper's rows in the wrong place.
NAME_ORDER = (16, 2, 256, 32, 4, 512)


def sweep(root, gain=0.0, sizes=NAME_ORDER, **config):
    """VAE and MVAE at several z; MVAE's accuracy is higher by `gain`, with little noise."""
    for z in sizes:
        base = draw(0.5 + z / 1000, 0.01, rng=z)
        noise = draw(gain, 0.001, rng=z + 1)
        write_run(root, "vae", z, {"probe_accuracy": base}, **config)
        better = {seed: base[seed] + noise[seed] for seed in SEEDS}
        write_run(root, "mvae", z, {"probe_accuracy": better}, **config)


def rows(out, name="tables"):
    with (out / f"{name}.csv").open() as file:
        return list(csv.DictReader(file))


def test_latent_sizes_sort_as_numbers(tmp_path, capsys):
    constant = dict.fromkeys(SEEDS, 0.25)
    for z in NAME_ORDER:
        for model in ("vae", "mvae"):
            values = {"mse": dict.fromkeys(SEEDS, z / 1000)}
            values |= dict.fromkeys(("probe_accuracy", "nmi"), constant)
            absent = dict.fromkeys(("probe_nll", "brier", "ece", "ari"), "not computed")
            write_run(tmp_path, model, z, values, absent=absent)
    assert render([tmp_path], tmp_path / "report", draw=False)
    golden = """\
digits, release protocol

                 MSE ↓                          accuracy ↑                             NMI ↑
z                  vae               mvae              vae             mvae              vae             mvae
---  -----------------  -----------------  ---------------  ---------------  ---------------  ---------------
2    0.00200 ± 0.00000  0.00200 ± 0.00000  0.2500 ± 0.0000  0.2500 ± 0.0000  0.2500 ± 0.0000  0.2500 ± 0.0000
4    0.00400 ± 0.00000  0.00400 ± 0.00000  0.2500 ± 0.0000  0.2500 ± 0.0000  0.2500 ± 0.0000  0.2500 ± 0.0000
16   0.01600 ± 0.00000  0.01600 ± 0.00000  0.2500 ± 0.0000  0.2500 ± 0.0000  0.2500 ± 0.0000  0.2500 ± 0.0000
32   0.03200 ± 0.00000  0.03200 ± 0.00000  0.2500 ± 0.0000  0.2500 ± 0.0000  0.2500 ± 0.0000  0.2500 ± 0.0000
256  0.25600 ± 0.00000  0.25600 ± 0.00000  0.2500 ± 0.0000  0.2500 ± 0.0000  0.2500 ± 0.0000  0.2500 ± 0.0000
512  0.51200 ± 0.00000  0.51200 ± 0.00000  0.2500 ± 0.0000  0.2500 ± 0.0000  0.2500 ± 0.0000  0.2500 ± 0.0000
"""  # noqa: E501
    assert capsys.readouterr().out.startswith(golden)
    sizes = [row["latent_size"] for row in rows(tmp_path / "report") if row["metric"] == "mse"]
    assert sizes == [size for z in ("2", "4", "16", "32", "256", "512") for size in (z, z)]


def test_bold_only_where_significant_after_holm(tmp_path):
    sweep(tmp_path / "real", gain=0.05)
    sweep(tmp_path / "null", gain=0.0)
    assert render([tmp_path / "real"], tmp_path / "a", draw=False)
    assert render([tmp_path / "null"], tmp_path / "b", draw=False)
    marked = (tmp_path / "a/tables.md").read_text()
    assert marked.count("**") == 2 * len(NAME_ORDER)
    line = next(line for line in marked.splitlines() if line.startswith("| 16"))
    vae, mvae = line.split("|")[4:6]  # accuracy; z and the two of MSE stand before
    assert "**" in mvae
    assert "**" not in vae
    assert "**" not in (tmp_path / "b/tables.md").read_text()
    assert all(row["family"] == str(len(NAME_ORDER)) for row in rows(tmp_path / "a", "comparisons"))


def test_an_uncorrected_difference_is_not_bold(tmp_path):
    """One cell with p just below 0.05 is bold alone, and not among five others."""
    d = dict(zip(SEEDS, [0.001, 0.012, 0.005, 0.011, 0.003], strict=True))
    write_run(tmp_path / "one", "vae", 2, {"nmi": dict.fromkeys(SEEDS, 0.0)})
    write_run(tmp_path / "one", "mvae", 2, {"nmi": d})
    render([tmp_path / "one"], tmp_path / "a", draw=False)
    assert "**0.0064" in (tmp_path / "a/tables.md").read_text()
    sweep(tmp_path / "one", sizes=(4, 16, 32, 256, 512))
    render([tmp_path / "one"], tmp_path / "b", draw=False)
    assert "0.0064" in (tmp_path / "b/tables.md").read_text()
    assert "**0.0064" not in (tmp_path / "b/tables.md").read_text()


def test_cells_of_fewer_epochs_are_corrected_apart(tmp_path):
    for dataset, epochs in (("cifar10", 5), ("cifar100", 200), ("fashion_mnist", 200)):
        for rng, model in enumerate(("vae", "mvae")):
            values = {"nmi": draw(0.5, 0.01, rng=rng)}
            write_run(tmp_path, model, 2, values, dataset=dataset, num_epochs=epochs)
    write_paper(tmp_path, tmp_path / "report", draw=False)
    found = rows(tmp_path / "report", "comparisons")
    families = {row["dataset"]: row["family"] for row in found if row["metric"] == "nmi"}
    assert families == {"cifar10": "1", "cifar100": "2", "fashion_mnist": "2"}


def test_lower_is_better_where_the_arrow_points_down(tmp_path):
    high, low = draw(0.5, 0.001), draw(0.3, 0.001, rng=1)
    write_run(tmp_path, "vae", 2, {"ece": high, "kl": high})
    write_run(tmp_path, "mvae", 2, {"ece": low, "kl": low})
    render([tmp_path], tmp_path / "report", draw=False)
    text = (tmp_path / "report/tables.txt").read_text()
    assert "*0.3" in text
    assert "*0.5" not in text
    assert text.count("*0.") == 1  # KL has no better side


def test_csv_holds_full_precision(tmp_path):
    values = draw(0.5, 0.01)
    write_run(tmp_path, "vae", 2, {"nmi": values})
    render([tmp_path], tmp_path / "report", draw=False)
    row = next(row for row in rows(tmp_path / "report") if row["metric"] == "nmi")
    assert float(row["mean"]) == np.mean(list(values.values()))
    assert float(row["sd"]) == pytest.approx(np.std(list(values.values()), ddof=1), rel=1e-14)
    assert (row["dataset"], row["model"], row["seeds"]) == ("digits", "vae", "5")


def test_one_run_prints_its_metrics(tmp_path, capsys):
    write_run(tmp_path, "mvae", 4, {"nmi": draw(0.5, 0.01), "new_metric": draw(2, 0.1)})
    assert render([tmp_path], tmp_path / "report", draw=False)
    out = capsys.readouterr().out
    assert "mvae z=4 on digits, release protocol" in out
    assert "95% interval of the mean" in out
    assert "new metric" in out


def test_tags_and_swept_scalars_get_tables_of_their_own(tmp_path):
    for model in ("vae", "mvae"):
        write_run(tmp_path, model, 2, {"nmi": draw(0.5, 0.01)})
        run = write_run(
            tmp_path, model, 2, {"nmi": draw(0.9, 0.01)}, tag="wide", folder=f"{model}-wide"
        )
        text = (run / "metrics.json").read_text()
        (run / "metrics.json").write_text(text.replace('"seed_777"', '"seed_777__beta=4"'))
    render([tmp_path], tmp_path / "report", draw=False)
    text = (tmp_path / "report/tables.txt").read_text()
    for title in ("protocol\n", "protocol, wide\n", "protocol, wide, beta=4\n"):
        assert f"digits, release {title}" in text


def test_a_swept_scalar_is_one_table_and_one_figure(tmp_path):
    """The values in their order as numbers; the means by hand; one family for Holm's correction."""
    means = {}
    for model, gain in (("vae", 0.0), ("mvae", 0.3)):
        for beta in (10.0, 2.0):
            elbo = {
                seed: -20 + gain + beta + 0.01 * (seed - 777) ** 2 * (1 + gain) for seed in SEEDS
            }
            means[model, beta] = sum(elbo.values()) / len(elbo)
            folder = f"{model}-{beta}"
            run = write_run(tmp_path, model, 2, {"elbo": elbo}, beta=beta, folder=folder)
            text = (run / "metrics.json").read_text()
            text = re.sub(r'"(seed_\d+)"', rf'"\1__beta={beta}"', text)
            (run / "metrics.json").write_text(text)
    render([tmp_path], tmp_path / "report")
    text = (tmp_path / "report/tables.txt").read_text()
    assert text.count("protocol: beta") == text.count("protocol") == 1
    of_values = [line.split() for line in text.splitlines() if re.match(r"(2|10) ", line)]
    assert [line[:2] for line in of_values] == [["2", "2"], ["10", "2"]]
    for line, beta in zip(of_values, (2.0, 10.0), strict=True):
        found = [float(line[2].strip("*")), float(line[5].strip("*"))]
        assert found == pytest.approx([means["vae", beta], means["mvae", beta]], abs=0.005)
    assert "over the metric's cells (2)" in text
    figures = tmp_path / "report/figures"
    assert [path.name for path in figures.glob("*release-beta.png")] == ["digits-release-beta.png"]


def test_the_number_of_parameters_is_one_number_of_the_run(tmp_path):
    for model, number in (("vae", 1202.0), ("mvae", 1206.0)):
        values = {"nmi": draw(0.5, 0.01), "num_parameters": dict.fromkeys(SEEDS, number)}
        write_run(tmp_path, model, 2, values)
    render([tmp_path], tmp_path / "report", draw=False)
    found = {(r["model"], r["metric"]): r for r in rows(tmp_path / "report")}
    assert float(found["mvae", "num_parameters"]["mean"]) == 1206
    assert found["mvae", "num_parameters"]["sd"] == ""
    assert "1,206" in (tmp_path / "report/tables.txt").read_text()


def test_a_run_prints_its_main_metrics_and_own_ones_and_all_only_if_asked(tmp_path, capsys):
    names = ("ari", "elbo", "iwae", "kl", "mse", "probe_accuracy", "active_units", "radius")
    write_run(tmp_path, "vae", 2, {name: dict.fromkeys(SEEDS, 0.25) for name in names})
    labels = ("ELBO (nats)", "KL (nats)", "MSE (per", "accuracy (linear", "ARI (k-means)", "radius")
    more = ("IWAE bound", "active units")

    def printed(**options):
        render([tmp_path], tmp_path / "report", draw=False, **options)
        return capsys.readouterr().out

    text = printed()
    places = [text.index(f"\n{label}") for label in labels]
    assert places == sorted(places)
    assert not any(f"\n{label}" in text for label in more)
    assert "\n2 more rows are in the report; --all prints them.\n" in text
    in_file, whole = (tmp_path / "report/tables.txt").read_text(), printed(every=True)
    for label in (*labels, *more):
        assert f"\n{label}" in whole
        assert f"\n{label}" in in_file
    assert "--all" not in in_file + whole


def test_unconverged_probes_are_flagged(tmp_path):
    converged = dict.fromkeys(SEEDS, 1.0) | {778: 0.0}
    write_run(tmp_path, "vae", 2, {"probe_converged": converged})
    write_run(tmp_path, "mvae", 2, {"probe_converged": dict.fromkeys(SEEDS, 1.0)})
    render([tmp_path], tmp_path / "report", draw=False)
    text = (tmp_path / "report/tables.txt").read_text()
    assert "vae z=2: † 1 of 5 probes did not converge" in text
    assert text.count("†") == 2  # the value and the note


def test_every_format_escapes_what_it_must():
    grid = formats.Grid(
        "50% of a_b", ("z", "x|y"), [["2", formats.Bold("1 ± 2")]], notes=["p < 0.05 & so"]
    )
    assert r"x|y" in formats.to_text(grid)
    assert r"**1 ± 2**" in formats.to_markdown(grid)
    latex = formats.to_latex(grid)
    assert r"50\% of a\_b" in latex
    assert r"\textbf{1 $\pm$ 2}" in latex
    assert r"p \ensuremath{<} 0.05 \& so" in latex


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="pdflatex is not installed")
def test_latex_compiles(tmp_path):
    sweep(tmp_path, gain=0.05, dataset="mnist_basic")
    out = tmp_path / "report"
    write_paper(tmp_path, out, draw=False)
    names = ("tables", "comparisons", "every_comparison", "reproduction", "claims")
    inputs = "".join(rf"\input{{{name}}}\clearpage " for name in names)
    (out / "all.tex").write_text(
        r"\documentclass{article}\usepackage[margin=2cm]{geometry}"
        r"\usepackage{array,booktabs,graphicx,longtable}\begin{document}"
        + inputs
        + r"\end{document}"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=out, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (out / "all.pdf").stat().st_size > 10_000
    assert "Float too large" not in done.stdout
    wide = [float(pt) for pt in re.findall(r"Overfull .hbox .([0-9.]+)pt too wide", done.stdout)]
    assert max(wide, default=0) < 10
