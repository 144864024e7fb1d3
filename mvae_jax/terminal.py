"""What every command does with its terminal."""

import sys
from typing import NoReturn


def exit_with(error: Exception | str, status: int = 2) -> NoReturn:
    """Print the error as one line and exit; status 2 is a mistake of usage."""
    print(f"error: {error}", file=sys.stderr)
    sys.exit(status)
