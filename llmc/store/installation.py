"""Which installation this is: a random name, and the key of its seal, in the user's own folder.

`installation` there (mode 600) is made at first need. Whoever can read the key can pass results
off as made here; without it, those made so far count as made elsewhere until they are adopted.
"""

from __future__ import annotations

import secrets
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path

from llmc.errors import ConfigError
from llmc.files import home
from llmc.store.seal import NAME_BYTES, Seal, is_installation

FILE = "installation"
_MOST_BYTES = 1024
_KEY_BYTES = 32
_TEXT = """\
# Which installation of llmc this is. The key marks what it stores as made here: show it to nobody.
id = "{name}"
key = "{key}"
"""


def load_seal(
    environ: Mapping[str, str], warn: Callable[[str], object], *, make: bool = False
) -> Seal | None:
    """Return the seal of this installation; None if there is none yet, or no use can be made of it.

    `make` makes a missing one. `warn` is told where the user's folder can't be used: work goes on,
    its results are not marked. Raises ConfigError if the file is there and isn't what llmc wrote.
    """
    try:
        path = home.find_folder(environ) / FILE
        data = home.read(path, _MOST_BYTES, secret=True)
        if data is None and make:
            data = _made(path)
    except ConfigError as error:
        warn(f"{error}; until then no result can be marked, or told, as made here")
        return None
    return None if data is None else _read(path, data)


def _made(path: Path) -> bytes:
    """Make the file, unless another process has just done it. Raises ConfigError."""
    with home.exclude_others(path.parent):
        data = home.read(path, _MOST_BYTES, secret=True)
        if data is None:
            name, key = secrets.token_hex(NAME_BYTES), secrets.token_hex(_KEY_BYTES)
            data = _TEXT.format(name=name, key=key).encode()
            home.write(path, data)
    return data


def _read(path: Path, data: bytes) -> Seal:
    try:
        found = tomllib.loads(data.decode())
        name, key = found["id"], bytes.fromhex(found["key"])
        if not is_installation(name) or len(key) != _KEY_BYTES:
            raise ValueError
    except (ValueError, KeyError, TypeError, RecursionError):
        # Nothing of it is quoted: it may hold the key.
        raise ConfigError(
            f"{path} is damaged; put a copy of it back, or move it away: a new one is made then, "
            "and results made so far count as made elsewhere until you run: llmc adopt"
        ) from None
    return Seal(name, key)
