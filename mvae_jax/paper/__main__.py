"""Computes what reports show of the paper alone, into constants.json: python -m mvae_jax.paper."""

import json
from pathlib import Path

from mvae_jax.paper import constants
from mvae_jax.store import files


def main() -> None:
    """Write the file beside this one."""
    path = Path(__file__).parent / constants.FILE
    text = json.dumps(constants.to_json(constants.compute()), indent=1, ensure_ascii=False)
    files.write_text(path, text + "\n")
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
