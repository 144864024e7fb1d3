"""What a long run shows before, in and after its first epoch, which compiles."""

import io
import sys
import time

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
