"""A command's `main` in the process of the tests, which saves the seconds of its imports."""

import sys


def call(main, monkeypatch, capsys, *arguments):
    """Return the exit status, the standard output and the standard error of a command."""
    monkeypatch.setattr(sys, "argv", ["command", *map(str, arguments)])
    status = 0
    try:
        main()
    except SystemExit as stop:
        status = stop.code or 0
    return status, *capsys.readouterr()
