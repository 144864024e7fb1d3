"""What every test shares."""

from pathlib import Path

from published_files import memory, published, ready, server  # noqa: F401

ROOT = Path(__file__).parent.parent

# Public data sets for tests on real bytes; such tests skip where the folder is absent.
SHARED_DATA = ROOT.parent / "shared" / "data"
