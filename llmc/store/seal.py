"""The seal of an installation: what it stored can be told from what anybody else wrote.

A seal is a keyed hash (HMAC-SHA256) over values as JSON, in which no two lists of values are the
same text. Whoever lacks the key can neither make one nor carry one over to other values. The key
stands in the user's own folder; see `installation`.
"""

from __future__ import annotations

import hmac
import json
import re
from dataclasses import dataclass, field

Value = str | int | float | bytes | None
"""What a column of SQLite holds."""

NAME_BYTES = 8

ROWS_BYTES = 16
"""No two are made that are equal: who lacks the key has nothing to try them by."""

_NAME = re.compile(f"[0-9a-f]{{{2 * NAME_BYTES}}}")
_PURPOSE, _ROWS = "llmc seal 1", b"llmc rows 1\0"
"""Bound into each hash, so that a hash made for something else by this key would never do."""


@dataclass(frozen=True, slots=True)
class Seal:
    """An installation: the random name that it is known by, and the key that nobody is shown."""

    installation: str
    key: bytes = field(repr=False)

    def sign(self, *values: Value) -> bytes:
        """Return the 32 bytes that stand for these values in this order."""
        return hmac.digest(self.key, _encoded([_PURPOSE, *values]).encode(), "sha256")

    def hash_rows(self, rows: bytes) -> str:
        """Return what rows of an index are known by again, whatever is asked of them."""
        return hmac.digest(self.key, _ROWS + rows, "sha256")[:ROWS_BYTES].hex()

    def verifies(self, mac: object, *values: Value) -> bool:
        """Tell whether a stored hash is the one of these values; takes the same time if not."""
        return isinstance(mac, bytes) and hmac.compare_digest(mac, self.sign(*values))


def is_installation(value: object) -> bool:
    """Tell whether a value can be an installation's name: in an index it may be any text."""
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def _blob(value: bytes) -> dict[str, str]:
    return {"blob": value.hex()}


_encoded = json.JSONEncoder(default=_blob).encode
"""JSON tells text, numbers and null apart; no column holds an object but a blob written as one."""
