"""JSON files that carry the SHA-256 of their own text, so that a flipped bit is noticed.

The last field of a sealed object is `file_sha256`: the digest of the file's text with that
field's value left out.
"""

import hashlib
import json
import re
from typing import Any

FIELD = "file_sha256"
SEAL = re.compile(rf'"{FIELD}": "([0-9a-f]{{64}})"\n}}\n\Z'.encode())


class SealError(ValueError):
    """A text that is not the one that was sealed."""


def seal(text: str) -> str:
    """Return the text of a JSON object with its digest as the last field."""
    body = text.rstrip().removesuffix("}").rstrip()
    comma = "" if body == "{" else ","
    opened = f'{body}{comma}\n"{FIELD}": "'
    return f'{opened}{_digest(opened.encode())}"\n}}\n'


def dumps(value: dict[str, Any]) -> str:
    """Return a JSON object's sealed text."""
    return seal(json.dumps(value, indent=1))


def check(data: bytes) -> bool:
    """Return whether a file's bytes are sealed; raise SealError where they were changed since."""
    match = SEAL.search(data)
    if match and _digest(data[: match.start(1)]) == match[1].decode():
        return True
    if FIELD.encode() in data[-150:]:
        raise SealError("its text does not match its SHA-256, so it was changed or is damaged")
    return False


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
