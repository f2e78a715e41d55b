"""Checksums inside of JSON objects that are written and read back."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

KEY = "sha256"


def digest(body: Mapping[str, Any]) -> str:
    """Returns the sha256 of a JSON object, in hexadecimal; neither layout nor the order of keys matters."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def seal(body: Mapping[str, Any]) -> dict[str, Any]:
    """Returns `body` with its own digest under 'sha256'."""
    return dict(body) | {KEY: digest(body)}


def is_intact(sealed: Mapping[str, Any]) -> bool:
    """Whether an object is as `seal` returned it."""
    return sealed.get(KEY) == digest({name: value for name, value in sealed.items() if name != KEY})
