"""What a language means by its words, where a query can't say it: a row for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from llmc.facts.values import ParameterKind


def _by_underscore(name: str) -> str | None:
    special = name.startswith("__") and name.endswith("__")
    return "private" if name.startswith("_") and not special else "public"


def _by_capital(name: str) -> str | None:
    return "exported" if name[:1].isupper() else "package"


def _by_hash(name: str) -> str | None:
    return "private" if name.startswith("#") else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How to read what the queries found.

    `parameter` is the kind of one that nothing is said of. What is returned is `told_by` the
    signature (nothing, if it has no type or one of `nothing`), by the returns (one with a word of
    `nothing` returns nothing), or by both, the signature first. Visibility is told by the name
    where `see` is given, unless the text has a word for it. A `with` whose text has one of the
    words of `quiet` may swallow what is raised in it. Errors that are raised by name have a
    capital where that may as well be a variable. Arguments are looked at one by one where one of
    `marks` is in their text: there may be comments among them, keywords, or nodes of the kinds in
    `spreads`, of which each stands for any number. `makers` are the names that make an error of
    what is called by them, where the queries leave it to the name.
    """

    parameter: ParameterKind = "positional"
    receivers: frozenset[str] = frozenset()
    told_by: Literal["signature", "returns", "both"] | None = None
    nothing: frozenset[str] = frozenset()
    see: Callable[[str], str | None] | None = None
    quiet: tuple[str, ...] = ()
    capital_errors: bool = False
    marks: tuple[bytes, ...] = (b"/",)
    spreads: frozenset[str] = frozenset()
    makers: frozenset[str] = frozenset()


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SCRIPT = Dialect(
    told_by="both",
    nothing=frozenset({*_words("undefined void never null"), "Promise<void>"}),
    see=_by_hash,
    marks=(b"/", b"..."),
    spreads=_words("spread_element"),
)
_C = Dialect(
    told_by="signature",
    nothing=_words("void"),
    makers=_words("exit abort _exit quick_exit std::exit std::abort std::terminate"),
)

DIALECTS: Mapping[str, Dialect] = {
    "python": Dialect(
        parameter="both",
        told_by="returns",
        capital_errors=True,
        receivers=_words("self cls mcs"),
        nothing=_words("None"),
        see=_by_underscore,
        quiet=("suppress", "raises", "ignor", "assert", "ExitStack"),
        marks=(b"=", b"*", b"#"),
        spreads=_words("list_splat dictionary_splat"),
    ),
    "javascript": _SCRIPT,
    "typescript": _SCRIPT,
    "tsx": _SCRIPT,
    "go": Dialect(
        told_by="signature",
        see=_by_capital,
        marks=(b"/", b"..."),
        spreads=_words("variadic_argument"),
        makers=_words("errors.New fmt.Errorf panic os.Exit log.Fatal log.Fatalf log.Fatalln"),
    ),
    "rust": Dialect(
        told_by="signature",
        nothing=_words("() !"),
        makers=_words("Err panic unreachable todo unimplemented process::exit std::process::exit"),
    ),
    "java": Dialect(told_by="signature", nothing=_words("void"), makers=_words("System.exit")),
    "c": _C,
    "cpp": _C,
    "bash": Dialect(makers=_words("return exit")),
    "markdown": Dialect(),
}
