"""The page: complete, escaped, self-contained, and alive in a real browser."""

import html.parser
import json
import re
import shutil
import subprocess

import pytest

from mvae_jax.report import html as html_stage
from mvae_jax.report import render
from tests.fake_runs import draw, write_paper, write_run
from tests.test_report_figures import write_full

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


class Links(html.parser.HTMLParser):
    """Collects ids, what refers to them, and what would be fetched."""

    def __init__(self):
        super().__init__()
        self.ids, self.internal, self.fetched = set(), set(), []

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if "id" in found:
            assert found["id"] not in self.ids
            self.ids.add(found["id"])
        target = found.get("href") or found.get("src") or ""
        if target.startswith("#"):
            self.internal.add(target[1:])
        elif target and not target.startswith("data:"):
            self.fetched.append(target)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    for z in (2, 16, 4):
        for model in ("vae", "mvae"):
            write_full(root, model, z, gain=0.05 if model == "mvae" else 0.0)
    assert write_paper(root, root / "report")
    return root / "report/index.html"


def test_every_link_has_its_target_and_nothing_is_fetched(page):
    links = Links()
    links.feed(page.read_text())
    assert links.internal <= links.ids
    assert links.fetched == []
    assert {f"run-mnist_basic-release-mvae-z{z}" for z in (2, 4, 16)} <= links.internal
    assert not re.search(r"url\(|@import|https?://", page.read_text())


def test_the_page_holds_tables_claims_figures_and_runs(page):
    text = page.read_text()
    for part in ("Table IV", "not supported", "Reproduction", "num_epochs"):
        assert part in text
    assert text.count("data:image/png;base64,") == 9
    assert "<strong>" in text


def test_words_come_before_a_figure_and_figures_before_tables(page):
    text = page.read_text()
    marks = ('class="lead"', "<figure>", 'id="figures"', 'id="section-1"', 'id="overview"')
    assert sorted(marks, key=text.index) == list(marks)


def test_what_users_write_is_escaped(tmp_path):
    evil = "<script>alert(1)</script>"
    write_run(tmp_path, "vae", 2, {"nmi": draw(0.5, 0.1)}, tag=evil, note=evil)
    write_run(tmp_path, evil, 4, {"nmi": draw(0.5, 0.1)}, folder="evil")
    render([tmp_path], tmp_path / "report")
    assert evil not in (tmp_path / "report/index.html").read_text()


def test_problems_are_on_the_page(tmp_path):
    run = write_run(tmp_path, "vae", 2, {"nmi": draw(0.5, 0.1)})
    (run / "metrics.json").unlink()
    assert not render([tmp_path], tmp_path / "report")
    text = (tmp_path / "report/index.html").read_text()
    assert "Incomplete" in text
    assert "does not exist" in text


def test_many_runs_are_links_to_their_own_reports(tmp_path, monkeypatch):
    monkeypatch.setattr(html_stage, "MAX_INLINE", 2)
    runs = [write_run(tmp_path, "vae", z, {"nmi": draw(0.5, 0.1)}) for z in (2, 4, 8)]
    for run in runs[:2]:
        render([run], run / "report", draw=False)
    render([tmp_path], tmp_path / "report", draw=False)
    links = Links()
    links.feed((tmp_path / "report/index.html").read_text())
    assert len(links.fetched) == 2
    for z, target in zip((2, 4), links.fetched, strict=True):
        assert f"vae z={z} on " in (tmp_path / "report" / target).read_text()


def test_a_report_can_do_without_figures(tmp_path):
    write_full(tmp_path, "vae", 2)
    render([tmp_path], tmp_path / "report", draw=False)
    assert not (tmp_path / "report/figures").exists()
    assert "image/png" not in (tmp_path / "report/index.html").read_text()


PROBE = """
<script>
const table = document.querySelector("#overview table.sortable");
const head = table.tHead.rows[0].cells;
const column = (i) => [...table.tBodies[0].rows].map((row) => row.cells[i].textContent.trim());
const found = { before: column(1) };
head[1].click(); found.up = column(1);
head[1].click(); found.down = column(1);
head[0].click(); found.names = column(0);
location.hash = "#run-mnist_basic-release-vae-z4";
const run = document.getElementById("run-mnist_basic-release-vae-z4");
const other = document.getElementById("run-mnist_basic-release-vae-z2");
found.shown = [getComputedStyle(run).display, getComputedStyle(other).display];
const cut = [...document.querySelectorAll(".wide")]
  .filter((wide) => wide.checkVisibility() && wide.scrollWidth > wide.clientWidth + 2);
found.cut = cut.length;
found.overflow = document.documentElement.scrollWidth - document.documentElement.clientWidth;
found.requests = performance.getEntriesByType("resource")
  .map((entry) => entry.name).filter((name) => !name.startsWith("data:"));
addEventListener("load", () => {
  // By now the observer has seen every table.
  setTimeout(() => {
  const cue = (wide) => getComputedStyle(wide.previousElementSibling).display;
  found.cues = cut.filter((wide) => cue(wide) === "block").length;
  found.images = [...document.images].map((image) => image.naturalWidth);
  const result = document.createElement("pre");
  result.id = "found";
  result.textContent = JSON.stringify(found);
  document.body.append(result);
  }, 500);
});
</script>
"""


@pytest.mark.skipif(not BROWSER, reason="no chromium is installed")
def test_in_a_browser_it_sorts_opens_runs_and_stays_silent(page, tmp_path):
    probe = tmp_path / "probe.html"
    text = page.read_text().replace("</body>", PROBE + "</body>")
    probe.write_text(text.replace('loading="lazy"', ""))
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=400,800"]
    command += ["--virtual-time-budget=5000"]  # to wait for what the page does a moment later
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--dump-dom"]
    # The browser itself stays off the network as well.
    command += ["--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND"]
    done = subprocess.run([*command, probe.as_uri()], capture_output=True, text=True, timeout=60)
    found = json.loads(re.search(r'<pre id="found">(.*?)</pre>', done.stdout)[1])
    assert found["before"] == ["2", "2", "4", "4", "16", "16"]
    assert found["up"] == found["before"]  # as numbers: 16 is last
    assert found["down"] == ["16", "16", "4", "4", "2", "2"]
    assert found["names"] == sorted(found["names"])
    assert found["shown"] == ["block", "none"]
    assert found["overflow"] == 0  # a phone's width needs no sideways scrolling of the page
    assert found["cut"] == found["cues"] > 0  # no column out of sight without a word
    assert found["requests"] == []
    assert len(found["images"]) == 9
    assert min(found["images"]) > 100
    assert "CONSOLE" not in done.stderr, done.stderr
