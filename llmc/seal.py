"""The seal of an installation: what it stored can be told from what anybody else wrote.

A seal is a keyed hash (HMAC-SHA256) over values, each with its type and its length, so that no two
lists of values have the same encoding. Whoever lacks the key can neither make one nor carry one
over to other values. The key stands in the user's own folder; see `installation`.
"""

from __future__ import annotations

import hmac
import re
import struct
from dataclasses import dataclass, field

Value = str | int | float | bytes | None
"""What a column of SQLite holds."""

NAME_BYTES = 8

_NAME = re.compile(f"[0-9a-f]{{{2 * NAME_BYTES}}}")
_PURPOSE = b"llmc seal 1"
"""Bound into each hash, so that a hash made for something else by this key would never do."""


@dataclass(frozen=True, slots=True)
class Seal:
    """An installation: the random name that it is known by, and the key that nobody is shown."""

    installation: str
    key: bytes = field(repr=False)

    def mac(self, *values: Value) -> bytes:
        """Return the 32 bytes that stand for these values in this order."""
        return hmac.digest(self.key, _PURPOSE + b"".join(map(_encoded, values)), "sha256")

    def verifies(self, mac: object, *values: Value) -> bool:
        """Tell whether a stored hash is the one of these values; takes the same time if not."""
        return isinstance(mac, bytes) and hmac.compare_digest(mac, self.mac(*values))


def is_installation(value: object) -> bool:
    """Tell whether a value can be an installation's name: in an index it may be any text."""
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def _encoded(value: Value) -> bytes:
    if isinstance(value, str):
        kind, data = b"t", value.encode("utf-8", "surrogatepass")
    elif value is None:
        kind, data = b"n", b""
    elif isinstance(value, bytes):
        kind, data = b"b", value
    elif isinstance(value, int):
        kind, data = b"i", b"%d" % value
    else:
        kind, data = b"r", struct.pack(">d", value)
    return b"%c%d:%b" % (kind, len(data), data)
