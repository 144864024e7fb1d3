"""One bad run is one problem of the report: everything else is written, and the tables first."""

import pytest

from mvae_jax.paper import document
from mvae_jax.report import cells, explorer, export, figures, html, render, scores, tables
from tests.fake_runs import write_paper, write_run
from tests.test_report_figures import write_full

TABLES = ("tables.txt", "tables.md", "tables.tex", "tables.csv", "comparisons.csv")
WRITTEN = (*TABLES, "index.html", "../page.md", "figures/mnist_basic-release-differences.png")


def write_pair(root):
    for model in ("vae", "mvae"):
        write_full(root, model, 2)


def draw_only(monkeypatch, *names):
    for name in figures.FIGURES.keys() - {*names}:
        monkeypatch.setitem(figures.FIGURES, name, lambda *_: None)


def fail(*_, **__):
    raise TypeError("Invalid\nshape")


@pytest.mark.parametrize(
    ("broken", "listed", "missing"),
    [
        (
            [(explorer, "_model"), (html, "_page"), (figures, "draw_data_sets")],
            ["figure of the data sets", "latent explorer", "its page", "its page"],
            [],
        ),
        (
            [(tables, "tables"), (tables, "records"), (html, "_overview"), (document, "misses")],
            ["Tables", "tables.csv", "index.html", "page.md"],
            ["tables.txt", "tables.md", "tables.tex", "tables.csv", "index.html", "../page.md"],
        ),
    ],
)
def test_what_fails_is_listed_and_everything_else_is_written(
    tmp_path, monkeypatch, capsys, broken, listed, missing
):
    write_pair(tmp_path / "runs")
    draw_only(monkeypatch, "differences")
    for module, name in broken:
        monkeypatch.setattr(module, name, fail)
    out = tmp_path / "out"
    samples = tmp_path / "samples.npz" if (figures, "draw_data_sets") in broken else None
    assert not write_paper(tmp_path / "runs", out, tmp_path / "page.md", samples=samples)
    said = capsys.readouterr().err.splitlines()
    ends = [f"{where}: TypeError: Invalid shape" for where in listed]
    assert len(said) == len(ends)
    assert all(map(str.endswith, said, ends)), said
    assert [file for file in WRITTEN if not (out / file).exists()] == missing


def test_tables_are_printed_and_written_before_a_figure_is_tried(tmp_path, monkeypatch, capsys):
    write_pair(tmp_path / "runs")
    before = []

    def draw(*_):
        before.extend([capsys.readouterr().out, (tmp_path / "out/tables.csv").is_file()])
        fail()

    draw_only(monkeypatch, "differences")
    monkeypatch.setitem(figures.FIGURES, "metrics", draw)
    assert not render([tmp_path / "runs"], tmp_path / "out")
    printed, written = before
    assert written
    assert "mnist_basic, release protocol" in printed
    assert "mvae against vae over cells" in printed
    said = capsys.readouterr()
    where = "mnist_basic, release protocol, figure metrics"
    assert said.err == f"error: {where}: TypeError: Invalid shape\n"
    assert said.out.startswith("wrote ")
    assert (tmp_path / "out/figures/mnist_basic-release-differences.png").is_file()


def test_a_run_that_cannot_be_read_costs_its_own_rows(tmp_path, monkeypatch, capsys):
    write_pair(tmp_path / "runs")
    bad = write_run(tmp_path / "runs", "vae", 4, {"nmi": {777: 0.5}}, dataset="cifar10")
    usual = cells.read_metrics

    def read_metrics(run, config):
        return fail() if run == bad else usual(run, config)

    monkeypatch.setattr(cells, "read_metrics", read_metrics)
    assert not render([tmp_path / "runs"], tmp_path / "out", draw=False)
    assert capsys.readouterr().err == (
        "error: cifar10, release protocol, vae z=4: TypeError: Invalid shape\n"
    )
    monkeypatch.setattr(
        scores, "read_run", lambda run: fail() if run == bad else cells.read_run(run)
    )
    assert not render([tmp_path / "runs"], tmp_path / "out", draw=False)
    assert capsys.readouterr().err == f"error: {bad}: TypeError: Invalid shape\n"


def test_an_export_leaves_out_the_damaged_run_alone(tmp_path, monkeypatch):
    write_pair(tmp_path / "runs")
    for tag, file in enumerate(("config.json", "metrics.json")):
        other = {"dataset": "digits", "tag": str(tag), "folder": f"bad-{tag}"}
        run = write_full(tmp_path / "runs", "vae", 2, **other)
        (run / file).write_text("{")
    draw_only(monkeypatch, "reliability")
    for name in ("sweeps", "metrics"):  # of arrays, of scores
        monkeypatch.setitem(figures.FIGURES, name, fail)
    written, problems = export.export(tmp_path / "runs", tmp_path / "out")
    assert [str(cell) for cell in written] == ["mvae z=2", "vae z=2"]
    said = [": ".join(problem) for problem in problems]
    for part in ("config.json", "metrics.json"):
        assert sum(part in line for line in said) == 1
    for name in ("sweeps", "metrics"):
        assert f"mnist_basic, release protocol, figure {name}: TypeError: Invalid shape" in said
    assert (tmp_path / "out/figures/mnist_basic-release-reliability.png").is_file()
