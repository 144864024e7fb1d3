"""The manual: its links and the tests that it names exist, and its tables are the code's."""

import re
from urllib.parse import unquote

import pytest

from mvae_jax.datasets.catalogue import CATALOGUE
from mvae_jax.evaluate.metrics import METRICS
from mvae_jax.paper import constants
from tests.conftest import ROOT

DOCS = ROOT / "mvae_jax" / "docs"
PAGES = sorted(
    [
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
        ROOT / "launch" / "README.md",
        *DOCS.glob("*.md"),
    ]
)


def prose(page):
    """Return a page without what stands in code blocks."""
    return re.sub(r"(?ms)^```.*?^```", "", page.read_text(encoding="utf-8"))


def anchors(page):
    """Return the fragments by which GitHub names the page's headings."""
    headings = re.findall(r"(?m)^#+ (.*)$", prose(page))
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if link.startswith(("https://", "http://")):
            continue
        path, _, fragment = unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link}"
        assert target.is_relative_to(ROOT), f"{page.name}: {link}"
        assert not fragment or fragment in anchors(target), f"{page.name}: {link}"


def test_the_readme_leads_to_every_page_of_the_manual():
    links = re.findall(r"\]\(mvae_jax/docs/(\w+\.md)\)", (ROOT / "README.md").read_text("utf-8"))
    assert set(links) == {page.name for page in DOCS.glob("*.md")}


def test_pages_are_as_short_as_a_reader_bears():
    for page, most in ((ROOT / "README.md", 250), (ROOT / "CONTRIBUTING.md", 100)):
        assert len(page.read_text(encoding="utf-8").splitlines()) <= most, page.name


def test_every_test_that_the_manual_names_exists():
    named = set()
    for page in PAGES:
        named |= set(re.findall(r"(test_\w+\.py)::(test_\w+)", page.read_text(encoding="utf-8")))
    assert len(named) >= 10
    for file, test in named:
        source = (ROOT / "tests" / file).read_text(encoding="utf-8")
        assert f"def {test}(" in source, f"{file}::{test}"


def test_every_metric_is_in_the_manual_and_no_other():
    page = (DOCS / "metrics.md").read_text(encoding="utf-8")
    tables = " ".join(re.findall(r"(?m)^\| (`.*?) \|", page))
    standardised = page.partition("## Standardised")[2].partition("## ")[0]
    named = set(re.findall(r"`(\w+)`", tables)) | set(
        re.findall(r"`(\w+_standardised)`", standardised)
    )
    assert named == METRICS.keys()


def test_every_data_set_is_in_the_manual_with_its_size_and_split():
    page = (DOCS / "data.md").read_text(encoding="utf-8")
    rows = [row.split(" | ") for row in re.findall(r"(?m)^\| (`.*) \|$", page)]
    shown = {
        name: (images, split)
        for row in rows
        for name in re.findall(r"`(\w+)`", row[0])
        for images, split in [(row[1], row[3])]
    }
    assert shown.keys() == CATALOGUE.keys()
    for name, (images, split) in shown.items():
        number, height, width, channels = CATALOGUE[name].shape
        size = f"{number:,} of {height} x {width}" + (f" x {channels}" if channels > 1 else "")
        assert images == size + (", no labels" if not CATALOGUE[name].num_classes else "")
        assert split == CATALOGUE[name].paper_split


def test_the_manual_shows_the_power_of_a_sweep_as_it_was_computed():
    section = (DOCS / "reports.md").read_text(encoding="utf-8").partition("## Holm families")[2]
    rows = [row.split(" | ") for row in re.findall(r"(?m)^\| (\d.*) \|$", section)]
    power = constants.power_table()
    assert power.headers[2:6] == ["a cell", "2 sd", "4 sd", "8 sd"]
    assert rows == [[row[0], row[1], " / ".join(row[3:6])] for row in power.rows]
