"""Whatever a file says is text in every format: in a table, on a page and on a terminal."""

import csv
import html.parser
import io
import json
import re
import shutil
import subprocess

import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from mvae_jax import escape, evaluate
from mvae_jax.report import formats
from mvae_jax.store.status import Status
from mvae_jax.sweep import watch
from tests.fake_runs import draw, write_paper, write_run

# A line each, then what has no place on a line.
HOSTILE = [
    *r"""q(z|x)
<script>alert(1)</script>
\\<img src=x onerror=alert(1)>
[/red] [bold]x
=cmd|' /C calc'!A0
+1+1
-1+1
@SUM(1)
**b** *i* _i_ __b__ ~~s~~
`code` ``` x $x$
[a](b) ![a](b) [a]: b
http://a.b www.a.b a@b.c <http://a.b>
&lt; &#60;
# h #
- x
---
1. x
2) x
> x
\
x\
a\|b
||
"x' x=1
50%
{}
\input{x}
\\[1cm]
[1cm]
(x
*
a--b
~ ^ _
{{ 7*7 }}{% x %}
<!--
]]>
é 数 💥""".splitlines(),
    *(
        "\t[1cm]",
        "a\nb",
        "a\r\n\r\nb",
        "\rx",
        "\t=1",
        " =1",
        "\uff1d1",
        "\u2028x",
        "\x00",
        "a\x85b",
        "\ud800",
    ),
    *("\x1b[31mred\x1b[0m", "\x9b2J", "\u202eabc\u2066", "mnist_basic", "-1.5", "a  b", "    x"),
]
TOGETHER = " ".join(HOSTILE)  # what they do to each other
PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def shown(text):
    """Returns what is left of a text without spaces, as a reader would compare it."""
    return "".join(escape.plain(text).split())


class Page(html.parser.HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text, self.comments = [], {}, "", 0
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes |= dict(attributes)

    def handle_data(self, data):
        self.text += data

    def handle_comment(self, data):
        self.comments += 1


@pytest.mark.parametrize("text", [*HOSTILE, TOGETHER])
def test_every_format_shows_the_text(text):
    check(text)


@settings(max_examples=200, deadline=None)
@given(st.text("*_`~[]()<>|\\!#-+.&;:/@$=\"'{}^%1 aB\n\té\x1b", min_size=1, max_size=12))
def test_every_format_shows_any_text(text):
    assume(shown(text) not in ("", "-"))  # the latter is what a cell without a value says
    check(text)


def check(text):
    """Asserts that HTML, text and Markdown show a text in every place, and nothing else."""
    assert (plain := escape.plain(text)).isprintable()
    page = Page(f'<p title="{escape.html(text)}">{escape.html(text)}</p>')
    assert (page.tags, page.attributes, page.text) == (["p"], {"title": plain}, plain)
    for groups in ([], [(text, 2)]):
        cells = [text, formats.Bold("1", f": {text}")]
        grid = formats.Grid(text, (text, text), [cells], groups, notes=[text])
        assert formats.to_text(grid).replace("\n", "").isprintable()
        tokens = PARSER.parse(formats.to_markdown(grid))
        assert {token.tag for token in tokens} <= {
            *("", "h3", "table", "thead", "tbody", "tr", "th", "td", "ul", "li", "p")
        }
        parts = [token.children for token in tokens if token.type == "inline"]
        inside = {child.type for part in parts for child in part}
        assert inside <= {"text", "text_special", "strong_open", "strong_close"}
        header = shown(text) * (2 if groups else 1)
        read = ["".join(child.content for child in part) for part in parts]
        cells = [header, header, *map(shown, cells)]
        assert list(map(shown, read)) == [shown(text), *cells, shown(text)]


@pytest.mark.parametrize(
    ("field", "written"),
    [
        *((-1.5, "-1.5"), (None, ""), (-3, "-3"), ("-1.5", "-1.5"), ("+1e-5", "+1e-5")),
        *(("=1+1", "'=1+1"), ("\t=1", "' =1"), ("-1+1", "'-1+1"), ("@x", "'@x"), ("a\n,b", "a ,b")),
        *(("\uff1d1", "'\uff1d1"), ("1=1", "1=1"), ("a\x1b", "a\\x1b"), ('"', '"')),
    ],
)
def test_a_csv_file_holds_figures_and_no_formulas(field, written):
    text = formats.to_csv(pd.DataFrame([{"name": "x", "value": field}]))
    assert list(csv.reader(io.StringIO(text))) == [["name", "value"], ["x", written]]


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="pdflatex is not installed")
def test_latex_sets_every_text(tmp_path):
    grids = [
        formats.Grid(text, (text, text), [[text, formats.Bold(text, text)]], *more, [text])
        for text in [*HOSTILE, TOGETHER]
        for more in ([()], [[(text, 1), (text, 1)]])
    ]
    grids += [grid._replace(widths=(5, 5)) for grid in grids if not grid.groups]  # over pages
    body = "\\clearpage\n".join(map(formats.to_latex, grids))
    head = r"\documentclass{article}\usepackage{array,booktabs,graphicx,longtable}"
    (tmp_path / "x.tex").write_text(rf"{head}\begin{{document}}{body}\end{{document}}")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "x.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-2000:]


def test_the_watch_shows_a_name_as_it_is(capsys, monkeypatch):
    monkeypatch.setattr(
        watch, "look", lambda _: [watch.Seen("x[/red]\x1b[2J", Status("failed"), 1)]
    )
    watch.watch([], 1.0)
    assert r"x[/red]\x1b[2J" in capsys.readouterr().out


def write_hostile(root, model, z, text):
    """A run that says the text wherever a run can say something."""
    reason = f"because {text}"
    name = text.replace("/", "").replace("\0", "").encode(errors="ignore")[:99].decode("latin-1")
    run = write_run(
        *(root, model, z, {text: draw(0.5, 0.1), "nmi": draw(-0.5, 0.01)}),
        **{"dataset": f"d{text}", "source": text, "protocol": text, "tag": text},
        **{
            "likelihood": text,
            "field": {text: text},
            text: text,
            "folder": f"{name}{z}{model[:4]}",
        },
        failed={1: reason},
        unscored={2: reason} if z == 4 else None,
        absent={f"absent {text}": reason},
    )
    environment = {"devices": [text], "processor": text, "git_revision": text, text: text}
    (run / "environment.json").write_text(json.dumps(environment | {"versions": {text: text}}))


def test_what_a_run_folder_says_is_text_wherever_it_is_shown(tmp_path, monkeypatch, capsys):
    root, out, page = tmp_path / "runs", tmp_path / "out", tmp_path / "page.md"
    text = TOGETHER.replace("\ud800", "")  # which is read as ?
    for model, z in (("vae", 2), ("mvae", 2), (text, 4)):
        write_hostile(root, model, z, text)
    damaged = write_run(root, "vae", 2, {"nmi": draw(0.5, 0.01)}, folder="\x1b[2J \udcff")
    (damaged / "config.json").write_text("{")
    assert not write_paper(root, out, page)
    said = capsys.readouterr()
    assert r"error: " + escape.plain(damaged) in said.err
    for printed in (said.out, said.err, (out / "comparisons.txt").read_text()):
        assert printed.replace("\n", "").isprintable()
        assert shown(text) in shown(printed)
    for path in (*out.glob("*.md"), page):
        tokens = PARSER.parse(path.read_text())
        blocks = [token.content.strip() for token in tokens if token.type == "html_block"]
        assert all(re.fullmatch(r"<!-- generated: [^<>]* -->", block) for block in blocks)
        assert len(blocks) == (path == page)
        inside = [child for token in tokens for child in token.children or ()]
        kinds = {token.type for token in [*tokens, *inside]}
        assert not kinds & {"html_inline", "s_open", "code_block", "fence", "hr"}
        links = [child.attrs["href"] for child in inside if child.type == "link_open"]
        assert all(re.fullmatch(r"out/figures/[\w.%-]+\.png", link) for link in links)
        assert bool(links) == (path == page)
        assert shown(text) in shown("".join(child.content for child in inside))
    for path in out.glob("*.html"):
        of_page = Page(path.read_text())
        assert shown(text) in shown(of_page.text)
        assert not [name for name in of_page.attributes if name.startswith("on")]
        assert (of_page.tags.count("script"), of_page.comments) == (1, 0)
    records = list(csv.DictReader(io.StringIO((out / "tables.csv").read_text())))
    assert {record["metric"] for record in records} > {escape.plain(text), "nmi"}
    assert all(None not in record and None not in record.values() for record in records)


def test_scoring_says_a_folders_name_and_a_files_words_as_text(tmp_path, capsys):
    run = tmp_path / "a\x1b[2J\udcff"
    (run / "embeddings").mkdir(parents=True)
    (run / "config.json").write_text(json.dumps({"dataset": "\x9b2J\u202e"}))
    assert not evaluate.score(tmp_path)
    said = capsys.readouterr().err
    assert r"a\x1b[2J\udcff/config.json" in said
    assert said.replace("\n", "").isprintable()
