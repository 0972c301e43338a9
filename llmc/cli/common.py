"""What the commands share: where they work, and how they speak."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from llmc.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from llmc.events import Event
    from llmc.models import IndexPlace, IndexReport
    from llmc.store.seal import Seal


def find_repository(text: str) -> Path:
    """Return the root of the git repository at or above a path. Raises ConfigError."""
    from llmc.files import tilde
    from llmc.programs.git import is_bare
    from llmc.settings.environment import copy_environment

    try:
        start = Path(tilde.expand(text, copy_environment(), "REPO")).resolve(strict=True)
        if not start.is_dir():
            raise ConfigError(f"{text!r} is not a folder; name the repository that it is in")
        for folder in (start, *start.parents):
            if (folder / ".git").exists():
                return folder
            if is_bare(folder):
                raise ConfigError(
                    f"{folder} is a bare repository, which holds no files to read; make a clone, "
                    f"and name that: git clone {shlex.quote(str(folder))}"
                )
    except (OSError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(f"{text!r} cannot be entered: {why}") from error
    raise ConfigError(f"{start} is not a git repository; make it one with: git init")


def find_gateway_program(named: str | None, repo: Path) -> str | None:
    """Return the program that a flag names: one where the user stands goes before the repository's.

    A bare name is looked for on the PATH first.
    """
    from llmc.programs.launching import SearchPath
    from llmc.settings.environment import copy_environment

    if named is None or not Path(named).is_file():
        return named
    is_bare = "/" not in named and not named.endswith(".js")
    if is_bare and SearchPath.of(copy_environment(), repo).find(named):
        return named
    return str(Path(named).absolute())


def locate_index(repo: str) -> IndexPlace:
    """Return a repository's index; what is done about files that came with it is said."""
    from dataclasses import replace  # whose import takes a tenth of the start

    from llmc.settings.environment import locate_index as locate

    return replace(locate(find_repository(repo)), tell=complain)


def load_seal(*, make: bool = False) -> Seal | None:
    """Return this installation's seal; a user's folder that can't be used is said."""
    from llmc.settings.environment import copy_environment
    from llmc.store import installation

    return installation.load_seal(copy_environment(), complain, make=make)


def describe_elsewhere(count: int) -> str:
    """Return what is said of enrichments that were made elsewhere."""
    what = "1 enrichment bears" if count == 1 else f"{count} enrichments bear"
    return (
        f"{what} no mark of this installation: made elsewhere, or before llmc kept marks; shown "
        "as such, not given to agents. If they are yours: llmc adopt; if not: llmc adopt --drop"
    )


def describe_index(report: IndexReport, path: Path) -> str:
    """Return how big an index is, and what a pass has changed in it, on one line."""
    from llmc.redaction.text import join_lines
    from llmc.show.counting import tell_count

    text = f"{tell_count(report.spans, 'span')} in {tell_count(report.files, 'file')}"
    changes = [f"{report.changed} changed"] if report.changed else []
    changes += [f"{report.removed} removed"] if report.removed else []
    changes += [f"{len(report.skipped)} skipped"] if report.skipped else []
    return f"{text} ({', '.join(changes) or 'nothing changed'}), {join_lines(str(path))}"


def say_skipped(report: IndexReport, most: int = 10) -> None:
    """Say on standard error which files could not be read, and why."""
    from llmc.redaction.text import join_lines

    for _, reason in report.skipped[:most]:
        print(f"skipped   {join_lines(reason)}", file=sys.stderr)
    if len(report.skipped) > most:
        more = len(report.skipped) - most
        print(f"skipped   {more} more files; llmc index names them all", file=sys.stderr)


def open_console(*, quiet: bool = False) -> Console:
    """Return standard error as what a run is shown on."""
    from rich.console import Console

    return Console(stderr=True, quiet=quiet, highlight=False)


def warn(event: Event) -> None:
    """Be a hook that says what the user should know."""
    from llmc.events import Warned

    if isinstance(event, Warned):
        complain(event.message)


def complain(text: str) -> None:
    """Say something on one line of standard error."""
    from llmc.redaction.text import join_lines

    print(f"llmc: {join_lines(text)}", file=sys.stderr)


def print_json(value: object) -> None:
    """Print a JSON document."""
    print(json.dumps(value, indent=2))
