"""`llmc trust`, and the same question where a run would need its answer."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from llmc.cli import question
from llmc.cli.commands import Words, add_command
from llmc.cli.common import find_repository, print_json
from llmc.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmc.cli.commands import Commands
    from llmc.settings.config import Settings
    from llmc.settings.documents import SettingsFile
    from llmc.settings.flags import Flags
    from llmc.settings.needs import Need


_WORDS = Words(
    help="take a repository's settings as your own word",
    description="Show what a repository's settings would have llmc do that needs your word, "
    "and ask for it. A change of these files takes the trust away until you look again.",
    examples=("llmc trust", "llmc trust --list", "llmc trust --revoke ~/src/project"),
    status="0 the settings are trusted, or need no trust; 2 they are not",
)


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = add_command(commands, "trust", _WORDS, _trust)
    parser.add_argument("--yes", action="store_true", help="agree without being asked")
    parser.add_argument("--list", action="store_true", help="say which repositories are trusted")
    parser.add_argument("--revoke", action="store_true", help="take the trust away again")


def seek_trust(settings: Settings, flags: Flags, *, as_json: bool) -> Settings:
    """Ask for what a run with these settings needs, where somebody can answer.

    Return the settings as they are then. Raises UntrustedError if anything is not allowed.
    """
    from llmc.settings.loading import load_settings

    if (
        settings.unmet()
        and not settings.sources.trust_problem
        and not as_json
        and question.is_possible()
    ):
        request = _Request(settings.repo, settings.sources.files, _folder())
        request.show()
        if question.ask("Take these settings as your own word?"):
            request.grant()
            settings = load_settings(settings.repo, flags)  # what was shown, or it is not trusted
    settings.require_trust()
    return settings


def _trust(args: argparse.Namespace) -> int:
    from llmc.settings.files import read_all

    folder = _folder()
    if args.list:
        return _list(folder, as_json=args.json)
    if args.revoke:
        return _revoke(folder, args.repo, as_json=args.json)
    repo = find_repository(args.repo).resolve()
    request = _Request(repo, read_all(repo), folder)
    if args.json:
        if args.yes and not request.settled:
            request.grant()
        print_json(request.record())
        return 0 if request.settled else 2
    if not request.asked:
        print(f"{_plain(repo)} asks for nothing that needs your word; nothing to trust")
        return 0
    request.show()
    if request.settled:
        print("These settings are trusted.")
        return 0
    return _ask(request, agreed=args.yes)


def _ask(request: _Request, *, agreed: bool) -> int:
    if not agreed and not question.is_possible():
        raise ConfigError("there is no terminal to ask on; if you agree, add --yes")
    if not agreed and not question.ask("Take these settings as your own word?"):
        print("Nothing is trusted.", file=sys.stderr)
        return 2
    request.grant()
    print("These settings are trusted, until one of the files changes.")
    return 0


class _Request:
    """What the settings files of a repository ask for, all of it, and how that stands."""

    def __init__(self, repo: Path, files: Mapping[str, SettingsFile], folder: Path) -> None:
        from llmc.settings import needs, trust

        self.repo, self.files, self._folder = repo, files, folder
        self.asked: tuple[Need, ...] = needs.find_in_files(files)
        self.changes = trust.list_changes(folder, repo, files)

    @property
    def settled(self) -> bool:
        return not self.asked or self.changes == []

    def show(self) -> None:
        """Say on standard error what would be allowed, and what has changed."""
        lines = [f"{self.repo} wants to"]
        width = max(len(need.kind) for need in self.asked)
        lines += [
            f"  {need.kind:{width}}  {need.text}  ({need.where})"
            for need in sorted(self.asked, key=lambda need: need.kind)
        ]
        if self.changes:
            lines += ["You trusted other settings of it. Since then:"]
            lines += [f"  {line}" for line in self.changes]
        for line in lines:
            print(_plain(line), file=sys.stderr)

    def grant(self) -> None:
        from llmc.settings import trust

        trust.grant(self._folder, self.repo, self.files, [need.text for need in self.asked])
        self.changes = []

    def record(self) -> dict[str, object]:
        return {
            "repository": str(self.repo),
            "trusted": self.settled,
            "files": {name: file.sha256 for name, file in self.files.items()},
            "asks": [
                {"kind": n.kind, "value": n.value, "where": n.where, "text": n.text}
                for n in self.asked
            ],
            "changes": self.changes or [],
        }


def _list(folder: Path, *, as_json: bool) -> int:
    from llmc.settings import trust

    known = trust.read_records(folder)
    if as_json:
        print_json([record.model_dump() for record in known.values()])
        return 0
    for record in known.values():
        gone = "" if Path(record.path).is_dir() else ", which is gone"
        print(_plain(f"{record.path}{gone}: trusted on {record.trusted_at}"))
        for sentence in record.granted:
            print(_plain(f"  {sentence}"))
    if not known:
        print("no repository is trusted")
    return 0


def _revoke(folder: Path, named: str, *, as_json: bool) -> int:
    from llmc.settings import trust

    try:
        repo = find_repository(named).resolve()
    except ConfigError:  # the folder may be gone
        repo = Path(os.path.abspath(named))  # noqa: PTH100 - without `..`, which Path would keep
    if not trust.revoke(folder, repo):
        raise ConfigError(f"{repo} is not trusted; llmc trust --list says what is")
    if as_json:
        print_json({"repository": str(repo), "revoked": True})
    else:
        print(f"{_plain(repo)} is not trusted any more")
    return 0


def _folder() -> Path:
    from llmc.settings.environment import find_user_folder

    return find_user_folder()


def _plain(text: object) -> str:
    from llmc.redaction.text import join_lines

    return join_lines(str(text))
