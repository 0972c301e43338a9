"""`llmc init`."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from llmc.cli.commands import Words, add_command
from llmc.cli.common import find_repository, print_json
from llmc.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from llmc.cli.commands import Commands
    from llmc.settings.starter import Answer


_WORDS = Words(
    help="write a first llmc.toml for the models that are there, and trust it",
    description="Ask the hosts of your environment (ENRICH_OLLAMA_HOSTS, else Ollama on this "
    "machine) which models they have, write a commented llmc.toml for them, and take it as "
    "your own word. An llmc.toml that is there is left alone.",
    examples=("llmc init", "ENRICH_OLLAMA_HOSTS=attic=attic:11434 llmc init"),
    status="0 the file is written and trusted; 2 it is not",
)


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    add_command(commands, "init", _WORDS, _init)


def _init(args: argparse.Namespace) -> int:
    from llmc.settings import starter
    from llmc.settings.documents import CONFIG_FILE
    from llmc.settings.environment import copy_environment
    from llmc.settings.gateways import KEYS
    from llmc.settings.hosts import parse_hosts
    from llmc.settings.variables import read_health

    repo = find_repository(args.repo).resolve()
    if os.path.lexists(repo / CONFIG_FILE):
        raise ConfigError(f"{repo / CONFIG_FILE} is there already; llmc init writes over nothing")
    environ = copy_environment()
    answers = starter.ask(parse_hosts(environ), read_health(environ).timeout)
    text = starter.compose(answers, [name for name in KEYS.values() if environ.get(name)])
    path = starter.write(repo, text)
    left = _trusted(repo, text)
    if args.json:
        print_json(_record(path, answers, left))
    else:
        _tell(path, answers, left)
    return 2 if left else 0


def _trusted(repo: Path, text: str) -> tuple[str, ...]:
    """Trust what was written; return why not, if so: other files may ask for more."""
    from llmc.settings import needs, trust
    from llmc.settings.documents import CONFIG_FILE
    from llmc.settings.environment import find_user_folder
    from llmc.settings.files import read_all

    files = read_all(repo)
    others = {name: file for name, file in files.items() if name != CONFIG_FILE}
    if files[CONFIG_FILE].raw != text.encode():
        return (f"{CONFIG_FILE} was changed while it was written",)
    if asked := needs.find_in_files(others):
        return tuple(f"it also wants to {need.text} ({need.where})" for need in asked)
    asked = needs.find_in_files(files)
    try:
        trust.grant(find_user_folder(), repo, files, [need.text for need in asked])
    except ConfigError as error:
        return (str(error),) if asked else ()
    return ()


def _tell(path: Path, answers: list[Answer], left: tuple[str, ...]) -> None:
    from llmc.net.places import address
    from llmc.redaction.text import join_lines

    lines = [f"wrote     {path}"]
    for answer in answers:
        said = ", ".join(f"{tier}: {model}" for tier, model in answer.models.items())
        name = f"{answer.host.label} ({address(answer.host.url)})"
        lines.append(f"host      {name}: {said or answer.problem}")
    if left:
        lines += [f"not trusted  {sentence}" for sentence in left]
        lines.append("next      llmc trust")
    else:
        lines.append("trusted   it is taken as your own word, until it changes")
        lines.append("next      llmc doctor says whether a run would work; llmc enrich --limit 5")
    for line in lines:
        print(join_lines(line))


def _record(path: Path, answers: list[Answer], left: tuple[str, ...]) -> dict[str, object]:
    return {
        "file": str(path),
        "hosts": {answer.host.label: dict(answer.models) or answer.problem for answer in answers},
        "trusted": not left,
        "left": list(left),
    }
