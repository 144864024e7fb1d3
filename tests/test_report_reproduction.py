"""Ours beside the release and the paper."""

import csv
import re

import pytest

from mvae_jax.paper import reference, reproduction
from mvae_jax.paper.reference import Key
from tests.fake_runs import SEEDS, read_report, write_paper, write_run


def around(key, offset=0.0, spread=0.01):
    """Five seeds whose mean is the released value plus an offset."""
    value = float(reference.release()[key])
    return {s: value + offset + spread * (i - 2) for i, s in enumerate(SEEDS)}


def write_pair(root, dataset="mnist_basic", z=16, offset=0.0, **config):
    for model in ("vae", "mvae"):
        values = {m: around(Key(m, dataset, z, model), offset) for m in reproduction.PAPER}
        write_run(root, model, z, values, dataset=dataset, **config)


def test_the_reference_files_hold_all_cells():
    release = reference.release()
    assert len(release) == 7 * 6 * 2 * 7
    printed = reference.printed(corrected=False).keys() - reference.FREY_FACE.keys()
    corrected = reference.printed(corrected=True).keys() - reference.FREY_FACE.keys()
    assert printed == corrected == release.keys()
    assert len(reference.unconverged()) == 14


def test_corrected_labels_match_the_release_to_the_printed_digits():
    """All but four cells: three last digits, and a copied NLL. The printed labels do not match."""

    def misses(figures):
        return {
            key
            for key, value in reference.release().items()
            if abs(float(value) - float(figures[key]))
            > 0.5001 * 10 ** -len(figures[key].split(".")[1])
        }

    assert misses(reference.printed(corrected=True)) == {
        Key("probe_nll", "cifar10", 2, "mvae"),
        Key("nmi", "mnist_basic", 512, "vae"),
        Key("probe_accuracy", "mnist_background_images", 2, "vae"),
        Key("probe_accuracy", "mnist_background_random", 16, "vae"),
    }
    assert len(misses(reference.printed(corrected=False))) > 200


def test_a_released_value_outside_the_interval_is_flagged(tmp_path):
    write_pair(tmp_path / "inside")
    write_pair(tmp_path / "outside", offset=0.5)
    for name, inside in (("inside", True), ("outside", False)):
        found = reproduction.figures(read_report(tmp_path / name).scores)
        assert len(found) == 14
        assert {*found.inside} == {inside}
        write_paper(tmp_path / name, tmp_path / name / "report", draw=False)
        text = (tmp_path / name / "report/reproduction.txt").read_text()
        # The note explains the sign; each of the 14 values carries it.
        assert text.count("‡") == (1 if inside else 15)
        assert "Table IV" in text


def test_the_paper_stands_under_its_corrected_label(tmp_path):
    write_pair(tmp_path, z=16)
    write_paper(tmp_path, tmp_path / "report", draw=False)
    with (tmp_path / "report/reproduction.csv").open() as file:
        rows = {(r["metric"], r["model"]): r for r in csv.DictReader(file)}
    row = rows["probe_accuracy", "vae"]
    assert (row["release"], row["paper"]) == ("0.904201", "0.904")  # the row printed as z=2


@pytest.mark.parametrize(
    ("dataset", "z", "config", "group"),
    [
        ("mnist_basic", 16, {}, "the release's images"),
        ("mnist_rotated", 16, {"source": "icml2007"}, "the release's images"),
        ("mnist_rotated", 16, {"source": "regenerated"}, "images made anew"),
        ("mnist_basic", 16, {"num_epochs": 20}, "not 200 epochs"),
        ("cifar100", 256, {}, "released probe unconverged"),
    ],
)
def test_cells_that_cannot_agree_are_set_apart(tmp_path, dataset, z, config, group):
    write_pair(tmp_path, dataset, z, **config)
    found = reproduction.figures(read_report(tmp_path).scores)
    assert {*found[found.metric == "brier"].group} == {group}
    share = reproduction.tables(read_report(tmp_path))[-1]
    assert group in {row[0].removesuffix(", few seeds") for row in share.rows}


def test_the_share_is_scored_from_ten_seeds_on(tmp_path, monkeypatch):
    """Of the release's images alone, and of those cells that have the seeds."""
    write_pair(tmp_path, z=16)
    write_pair(tmp_path, "fashion_mnist", 16, offset=0.5)
    write_pair(tmp_path, "mnist_rotated", 16, source="regenerated")
    found = reproduction.figures(read_report(tmp_path).scores)
    ten = found.assign(seeds=found.seeds.where(found.dataset == "mnist_basic", 10))
    monkeypatch.setattr(reproduction, "figures", lambda _: ten)
    shares = {
        row[0]: row[2:4]
        for row in reproduction.tables(read_report(tmp_path))[-1].rows
        if row[1] == "all"
    }
    assert shares == {
        "the release's images": ("0 of 14", "0%"),
        "the release's images, few seeds": ("14 of 14", "(100%)"),
        "images made anew": ("14 of 14", "(100%)"),
    }


@pytest.mark.parametrize(("mean", "mark"), [(0.004984, ""), (0.1, "‡")])
def test_figure_3_is_compared_under_its_convention(tmp_path, mean, mark):
    errors = {seed: mean + 1e-6 * i for i, seed in enumerate(SEEDS)}
    values = {"mse_first_48": errors, "mse": dict.fromkeys(SEEDS, 0.0055)}
    config = {"likelihood": "bernoulli", "num_epochs": 20}
    write_run(tmp_path, "vae", 32, values, dataset="frey_face", **config)
    (row,) = reproduction.frey_face(read_report(tmp_path).scores).rows
    assert row[:7] == (*("release", "bernoulli", "vae", "5", "20"), f"0.004984{mark}", row[6])
    assert row[6] == f"{mean + 2e-6:.6f}"
    assert row[8] == "0.005500"
    low, high = map(float, row[7].split(" to "))
    assert (low <= 0.004984 <= high) == (not mark)


def test_figure_3_of_one_seed_has_no_interval_and_no_mark(tmp_path):
    values = {"mse_first_48": {777: 0.004}, "mse": {777: 0.0055}}
    write_run(tmp_path, "vae", 32, values, dataset="frey_face")
    write_run(
        tmp_path,
        "mvae",
        32,
        {"mse_first_48": {777: 0.004}},
        dataset="frey_face",
        absent={"mse": "none"},
    )
    (row,) = reproduction.frey_face(read_report(tmp_path).scores).rows
    assert (row[5], row[7]) == ("0.004984", "")


def test_fewer_epochs_are_said_under_every_table_of_such_runs(tmp_path):
    write_pair(tmp_path, num_epochs=20)
    write_pair(tmp_path, dataset="cifar10", num_epochs=200)
    write_paper(tmp_path, tmp_path / "out", tmp_path / "page.md", draw=False)
    note = "Epochs, where fewer than the paper's 200: mnist_basic, release protocol: 20."
    pages = [f"out/{name}.md" for name in ("tables", "comparisons", "reproduction", "claims")]
    others = ("cifar10", "What the paper claims")  # what is of no such run

    def tables(page):
        parts = re.split("^### ", (tmp_path / page).read_text(), flags=re.MULTILINE)[1:]
        return [part for part in parts if "\n|--" in part]

    for page in pages:
        assert tables(page)
        for table in tables(page):
            assert (note in table) != table.startswith(others), table[:200]
    # The page's tables hold no such run but where they name its epochs.
    with_it = [table.partition("\n")[0] for table in tables("page.md") if "mnist_basic" in table]
    assert [title.partition(":")[0] for title in with_it] == [
        *("Row labels", "Cells that differ from the release under the right label too", "Runs")
    ]
    assert any(table.startswith("Table I, cifar10") for table in tables("page.md"))
    assert "|mnist_basic, release protocol|mvae|16|5|20|" in (tmp_path / "page.md").read_text()


def test_only_the_release_protocol_is_compared_with_the_release(tmp_path):
    write_pair(tmp_path, protocol="paper")
    assert reproduction.figures(read_report(tmp_path).scores).empty
