"""How a command is declared: its frame, its help, the flags that several share, its numbers."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, NoReturn

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

MOST = 999_999_999
"""The largest number that a flag takes."""


class Words(NamedTuple):
    """What the help of a command says. Each of the `examples` can be typed as it stands."""

    help: str
    description: str
    examples: tuple[str, ...]
    status: str = "0 done; 2 could not run"


class Parser(argparse.ArgumentParser):
    """A parser whose complaints take one line each, in a pipe too."""

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        """Refuse what is not known here and now: the outermost parser knows no command's flags."""
        found, rest = super().parse_known_args(args, namespace)
        if rest:
            self.error(f"{' '.join(rest)} is not known here{self._suggest(rest[0])}")
        return found, rest

    def _suggest(self, word: str) -> str:
        from difflib import get_close_matches

        near = get_close_matches(word.partition("=")[0], self._option_string_actions, 1)
        return f"; did you mean {near[0]}?" if near else ""

    def error(self, message: str) -> NoReturn:
        """End the process with status 2; where just the command is missing, the help is shown."""
        from llmc.redaction.text import join_lines

        if message.endswith("required: COMMAND"):
            self.print_help(sys.stderr)
            self.exit(2)
        message = join_lines(message.removeprefix("argument "))
        self.exit(2, f"{self.prog}: {message}; see: {self.prog} --help\n")


def add_command(
    commands: Commands,
    name: str,
    words: Words,
    run: Callable[[argparse.Namespace], int],
    *,
    repo: bool = True,
) -> argparse.ArgumentParser:
    """Add a command to a parser; each has --json, and with `repo` the argument REPO."""
    parser = _add(commands, name, words)
    if repo:
        parser.add_argument(
            "repo",
            nargs="?",
            default=".",
            metavar="REPO",
            help="a git repository, or a folder in it (default: where you are)",
        )
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.set_defaults(run=run)
    return parser


def add_group(commands: Commands, name: str, words: Words) -> Commands:
    """Add a command that is made of commands; return where they are added."""
    parser = _add(commands, name, words)
    return parser.add_subparsers(title="commands", metavar="COMMAND", required=True)


def _add(commands: Commands, name: str, words: Words) -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        help=words.help,
        description=words.description,
        epilog=show_examples(words.examples, words.status),
        formatter_class=Formatter,
    )


def show_examples(examples: tuple[str, ...], status: str) -> str:
    """Return what stands below the flags in a help."""
    lines = "\n".join(f"  {example}" for example in examples)
    return f"examples:\n{lines}\n\nexit status: {status}"


class Formatter(argparse.HelpFormatter):
    """Fills paragraphs, and leaves examples as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        fill = super()._fill_text
        return "\n\n".join(
            part if part.startswith("examples:") else fill(part, width, indent)
            for part in text.split("\n\n")
        )


def add_backend_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say who is asked, and what a gateway's program gets."""
    parser.add_argument(
        "--backend",
        choices=("auto", "ollama", "gateway", "embedded"),
        help="who is asked; auto: the configured chain, else Ollama, else the embedded model "
        "(default: auto)",
    )
    parser.add_argument(
        "--model",
        dest="in_process",
        metavar="MODEL",
        help="run this model in this process, and ask nobody else: a name from llmc model list, or "
        "a GGUF file",
    )
    parser.add_argument(
        "--chain",
        metavar="NAME",
        help="the chain of llmc.toml to use (default: what default_chain names there)",
    )
    parser.add_argument(
        "--proxy",
        nargs="?",
        const="env",
        metavar="URL",
        help="ask what is not on this machine by this proxy; without URL, by those of $HTTP_PROXY "
        "and $HTTPS_PROXY, but for $NO_PROXY",
    )
    parser.add_argument(
        "--gateway-path",
        metavar="PROGRAM",
        help="a program that is the gateway: it gets each prompt on its standard input",
    )
    parser.add_argument(
        "--gateway-env",
        action="append",
        default=[],
        metavar="NAME",
        help="a variable that the gateway program gets besides HOME, PATH and their like; may be "
        "given more than once (also: $LLMC_GATEWAY_ENV, with commas)",
    )
    parser.add_argument(
        "--gateway",
        choices=("azure", "gemini", "openai"),
        help="which cloud is the gateway, if variables of several are set (also: $LLMC_GATEWAY)",
    )


def read_number(text: str, least: int = 0, most: int = MOST, hint: str = "") -> int:
    """Return a whole number from `least` to `most`. Raises what argparse tells the user."""
    number = text.strip()
    if not re.fullmatch(r"[+-]?[0-9]+", number):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    # Longer ones are out of every bound, and Python refuses to read the longest.
    value = int(number[:20])
    if value < least:
        raise argparse.ArgumentTypeError(f"{number} is too small: {least} is the least{hint}")
    if value > most:
        raise argparse.ArgumentTypeError(f"{number[:20]} is too large: {most} is the most")
    return value


def read_limit(text: str) -> int:
    """Return how many spans a run may enrich."""
    return read_number(text, 1, hint="; to go on until none is left, leave the flag out")


def read_attempts(text: str) -> int:
    """Return how many attempts a span gets."""
    return read_number(text, 1, hint=", since a span needs an attempt")


def read_slots(text: str) -> int:
    """Return how many requests a host gets at once."""
    from llmc.settings.documents import MAX_SLOTS

    return read_number(text, 1, MAX_SLOTS, hint=", since a host that gets no request does nothing")
