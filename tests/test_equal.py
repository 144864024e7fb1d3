"""The manual's table of what is equal names tests that there are."""

import re

from tests.conftest import ROOT


def test_every_test_that_the_manual_names_exists():
    named = set()
    for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        named |= set(re.findall(r"(test_\w+\.py)::(test_\w+)", path.read_text()))
    assert len(named) >= 10
    for file, test in named:
        assert f"def {test}(" in (ROOT / "tests" / file).read_text(), f"{file}::{test}"
