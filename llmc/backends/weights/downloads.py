"""A program in Python that fetches something for us: started, watched while it writes, and ended.

It stands in a session of its own, so that a Ctrl-C reaches it through us alone, and it writes
nothing but into the one folder that it is given. It ends with us, also where we are killed: its
standard input is a pipe whose other end only we have.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from llmc.errors import ConfigError
from llmc.programs.launching import NEUTRAL_FOLDER, SearchPath, pick_minimal
from llmc.redaction.keys import blot_keys, find_secrets
from llmc.redaction.text import join_lines

STALLED_SEC = 300.0
"""A download that has brought nothing for so long is given up; its own client does so sooner."""

_POLL_SEC = 0.2
_END_SEC = 5.0
_SAID = ".said"
_MOST_SAID = 8192

_NETWORK = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "NETRC")
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_PYTHON = ("PYTHONPATH", "PYTHONHOME", "PYTHONUSERBASE", "PYTHONNOUSERSITE")
_KEPT = frozenset((*_NETWORK, *map(str.lower, _NETWORK), *_CERTIFICATES, *_PYTHON))


def pick_environ(
    environ: Mapping[str, str], prefixes: tuple[str, ...], folder: Path
) -> dict[str, str]:
    """Return what such a program gets: the user's ways out and its own settings, by `prefixes`."""
    kept = {
        name: value for name, value in environ.items() if name in _KEPT or name.startswith(prefixes)
    }
    minimal = pick_minimal(environ, SearchPath.of(environ))
    return minimal | kept | {"TMPDIR": str(folder)}


_LIFELINE = """
import os, threading
threading.Thread(target=lambda: os.read(0, 1) or os._exit(1), daemon=True).start()
"""


def run(
    program: str,
    arguments: Sequence[str],
    environ: Mapping[str, str],
    folder: Path,
    grow: Callable[[int], None],
) -> tuple[int, str]:
    """Run a program that writes into a folder; return its status and the end of what it said.

    `program` is its source, run by the Python that runs us. `grow` gets the bytes in the folder
    now and then. Raises ConfigError if it can't be started, or comes to a standstill.
    """
    with (folder / _SAID).open("w+b") as said:
        try:
            process = subprocess.Popen(
                [sys.executable, "-c", _LIFELINE + program, *arguments],
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=subprocess.STDOUT,
                cwd=NEUTRAL_FOLDER,
                env=environ,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise ConfigError(f"{sys.executable or 'Python'} cannot be started: {error}") from error
        try:
            _watch(process, folder, grow)
        finally:
            _end(process)
        said.seek(max(0, said.seek(0, os.SEEK_END) - _MOST_SAID))
        text = said.read(_MOST_SAID).decode("utf-8", "replace")
    return process.returncode, blot_keys(text, find_secrets(environ))


def pick_line(said: str, mark: str = "") -> str:
    """Return the last line of what a program said that begins with `mark`, fit to be shown."""
    lines = [line.strip() for line in said.splitlines() if line.strip().startswith(mark)]
    lines = [line for line in lines if line] or said.strip().splitlines() or ["it said nothing"]
    return join_lines(lines[-1].removeprefix(mark).strip())[:300]


def _watch(process: subprocess.Popen[bytes], folder: Path, grow: Callable[[int], None]) -> None:
    """Wait for its end; as long as the folder grows, however long that takes."""
    size, since = -1, time.monotonic()
    while process.poll() is None:
        now = measure(folder)
        if now != size:
            size, since = now, time.monotonic()
            grow(size)
        if time.monotonic() - since > STALLED_SEC:
            raise ConfigError(f"nothing has come for {STALLED_SEC:g} s")
        with suppress(subprocess.TimeoutExpired):
            process.wait(_POLL_SEC)


def measure(folder: Path) -> int:
    """Return the bytes of a file, or of those in a folder, which come and go meanwhile."""
    total = 0
    with suppress(OSError):
        total = 0 if folder.is_dir() else folder.lstat().st_size
    for where, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += (Path(where) / name).lstat().st_size
    return total


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a program that is still there, with all that it has started."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_END_SEC)
    if process.stdin:
        process.stdin.close()
