"""What a long run shows before, in and after its first epoch, which compiles."""

import io
import sys
import time
from types import SimpleNamespace

import pytest

from mvae_jax.runs import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_nothing_is_shown_that_is_not_known_and_compilation_is_no_epoch(stream, monkeypatch):
    """Three epochs are done; the first of this start takes 100 s, the others 2."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", stream())
    clock = iter([100.0, 102.0, 104.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with progress.epochs("digits [/red] vae", 3, 9) as report:
        shown = [sys.stderr.getvalue()]
        for epoch in (4, 5, 6):
            report(epoch, -20.0, 1000.0)
            shown.append(sys.stderr.getvalue()[len("".join(shown)) :])
    if stream is Terminal:
        shown = [sys.stderr.getvalue()]  # drawn from time to time
        assert "epoch 3/9  compiling" in shown[0]
    text = "".join(shown)
    assert "nan" not in text
    assert "digits [/red] vae" in text
    assert "epoch 6/9" in text
    assert "6 s left" in text
    if stream is io.StringIO:
        assert shown[0] == ""
        assert shown[1] == "digits [/red] vae: epoch 4/9, ELBO -20.00 nats, 1,000 examples/s\n"
        assert shown[2].endswith(", 8 s left\n")


def test_a_notebook_has_one_line_which_is_replaced(monkeypatch, capsys):
    """As ipykernel's shell and IPython's display behave; a kernel runs in test_notebooks.py."""
    shown = []

    class Line:
        def update(self, data, raw):
            shown.append(data["text/plain"])

    def display(data, raw, display_id):
        Line().update(data, raw)
        return Line()

    shell = SimpleNamespace(kernel=object())
    ipython = SimpleNamespace(get_ipython=lambda: shell, display=SimpleNamespace(display=display))
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", ipython.display)
    clock = iter([100.0, 100.1, 102.0, 102.1])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with progress.epochs("digits vae", 0, 4) as report:
        assert shown == ["digits vae: compiling"]
        for epoch in (1, 2, 3, 4):
            report(epoch, -20.0, 1000.0)
    assert [line.split(",")[0] for line in shown[1:]] == [
        f"digits vae: epoch {epoch}/4" for epoch in (1, 3, 4)
    ]
    assert capsys.readouterr() == ("", "")
    del shell.kernel  # IPython in a terminal
    with progress.epochs("digits vae", 0, 1):
        assert len(shown) == 4
