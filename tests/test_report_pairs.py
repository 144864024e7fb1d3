"""Every model of a row against any baseline, and methods without seeds."""

import csv
import os
import subprocess
import sys

import numpy as np
import pytest
import scipy.stats

from mvae_jax.report import render
from mvae_jax.report.study import Study
from tests.conftest import ROOT
from tests.fake_runs import SEEDS, draw, read_report, write_paper, write_run

Z = 4


def comparisons(out):
    with (out / "comparisons.csv").open() as file:
        return [row for row in csv.DictReader(file) if row["metric"] == "nmi"]


@pytest.fixture
def root(tmp_path):
    """Three models with seeds, and one without: its only seed is none of theirs."""
    for rng, (model, mean) in enumerate({"vae": 0.5, "mvae": 0.6, "lu": 0.7}.items()):
        write_run(tmp_path / "runs", model, Z, {"nmi": draw(mean, 0.01, rng=rng)})
    write_run(tmp_path / "runs", "pca", Z, {"nmi": {0: 0.55}})
    return tmp_path / "runs"


def test_every_model_is_compared_with_the_default_baseline(root, tmp_path):
    assert render(root, tmp_path / "out", draw=False)
    found = {row["model"]: row for row in comparisons(tmp_path / "out")}
    assert found.keys() == {"mvae", "lu", "pca"}
    assert {row["baseline"] for row in found.values()} == {"vae"}
    vae, lu = draw(0.5, 0.01, rng=0), draw(0.7, 0.01, rng=2)
    expected = scipy.stats.ttest_rel(list(lu.values()), list(vae.values()))
    assert float(found["lu"]["p_t"]) == pytest.approx(expected.pvalue)
    text = (tmp_path / "out/tables.txt").read_text()
    row = next(line for line in text.splitlines() if line.startswith(f"{Z} "))
    assert all(f"*{value}" in row for value in ("0.6022", "0.6972", "0.5500"))
    assert "*0.5004" not in row


def test_a_method_without_seeds_meets_every_seed(root, tmp_path):
    render(root, tmp_path / "out", draw=False)
    (pca,) = (row for row in comparisons(tmp_path / "out") if row["model"] == "pca")
    differences = 0.55 - np.array(list(draw(0.5, 0.01).values()))
    assert (int(pca["seeds"]), float(pca["difference"])) == (5, pytest.approx(differences.mean()))
    assert float(pca["p_t"]) == pytest.approx(scipy.stats.ttest_1samp(differences, 0).pvalue)
    assert (
        "the one result of pca is compared with each seed."
        in (tmp_path / "out/tables.txt").read_text()
    )


def test_any_model_may_be_the_baseline(root, tmp_path):
    assert render(root, tmp_path / "out", baseline="lu", draw=False)
    found = {row["model"]: float(row["difference"]) for row in comparisons(tmp_path / "out")}
    assert found.keys() == {"vae", "mvae", "pca"}
    assert all(difference < 0 for difference in found.values())
    text = (tmp_path / "out/tables.txt").read_text()
    row = next(line for line in text.splitlines() if line.startswith(f"{Z} "))
    assert "*0.6972" in row  # lu is better than each of them
    assert not any(f"*{value}" in row for value in ("0.6022", "0.5004", "0.5500"))


def test_an_unknown_baseline_lists_the_models(root, tmp_path):
    with pytest.raises(ValueError, match=r"--baseline: got 'gan'; allowed: vae, mvae, lu, pca"):
        render(root, tmp_path / "out", baseline="gan", draw=False)


def test_a_model_of_other_seeds_costs_only_its_own_comparison(root, tmp_path, capsys):
    write_run(root, "few", Z, {"nmi": draw(0.6, 0.01, SEEDS[:3])}, num_seeds=3, first_seed=777)
    assert not render(root, tmp_path / "out", draw=False)
    assert {row["model"] for row in comparisons(tmp_path / "out")} == {"mvae", "lu", "pca"}
    assert "few z=4: few lacks seed 780, 781" in capsys.readouterr().err


def test_the_family_of_a_study_is_not_that_of_a_report(tmp_path):
    """Without a study one correction runs over a data set; with the paper's, over its cells."""
    for dataset in ("cifar10", "cifar100"):
        for rng, model in enumerate(("vae", "mvae")):
            write_run(tmp_path, model, 2, {"nmi": draw(0.5, 0.01, rng=rng)}, dataset=dataset)
    for study, size in ((Study(), 1), (None, 2)):
        report = read_report(tmp_path, study) if study else read_report(tmp_path)
        assert {*report.compared.frame.query("metric == 'nmi'").family} == {size}


def test_the_family_of_one_cell_is_called_uncorrected(tmp_path):
    for rng, model in enumerate(("vae", "mvae")):
        write_run(tmp_path, model, 2, {"nmi": draw(0.5, 0.01, rng=rng)}, dataset="cifar10")
    write_paper(tmp_path, tmp_path / "out", draw=False)
    text = (tmp_path / "out/tables.txt").read_text()
    assert "1 of 42" in text
    assert "A family of one cell is an uncorrected test." in text


def test_a_report_on_runs_that_the_paper_never_heard_of_has_no_word_about_it(root, tmp_path):
    render(root, tmp_path / "out")
    for path in (tmp_path / "out").rglob("*"):
        if path.suffix in (".txt", ".md", ".tex", ".csv", ".html"):
            words = path.read_text().split("<figure>")[0].lower()
            assert "paper" not in words.replace("citepaper", ""), path
            assert "release's" not in words, path


def test_a_section_of_a_users_own_is_named_by_its_dotted_path(root, tmp_path):
    (tmp_path / "my_section.py").write_text(
        "from mvae_jax.report.formats import Grid\n"
        "from mvae_jax.report.study import Section\n\n\n"
        "def count(report):\n"
        '    return [Grid("Cells", ("cells",), [(str(len(report.scores.cells)),)])]\n\n\n'
        'section = Section("Mine", "mine", count)\n'
    )
    flags = ["--no-figures", "--out=out", "--section=my_section.section"]
    command = [sys.executable, "-m", "mvae_jax.report", "runs", *flags]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert (tmp_path / "out/mine.txt").read_text().split()[-1] == "4"
    assert "<h2>Mine</h2>" in (tmp_path / "out/index.html").read_text()
    command[-1] = "--section=my_section.other"
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: --section: got 'my_section.other', which does not import")
