"""What a language means by its words, where a query can't say it: a row for each."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from llmc.facts.values import How, ParameterKind


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

    `parameter` is the kind of one that nothing is said of. One of `receivers` is what a method is
    called on; where `unbound` is given, only of a method without such a decorator. What is returned
    is `told_by` the signature (nothing, if it has no type or one of `nothing`), by the returns (one
    with a word of `nothing` returns nothing), or by both, the signature first. Visibility is told
    by the name where `see` is given, unless the text has a word for it. A `with` whose text has one
    of the words of `quiet` may swallow what is raised in it. Errors that are raised by name have a
    capital where that may as well be a variable. Arguments are looked at one by one where one of
    `marks` is in their text: there may be comments among them, keywords, or nodes of the kinds in
    `spreads`, of which each stands for any number. One of `casts` has only the form of a call.
    Calls of `leaving` are not come back from, but panics are where `rescue` is. A returned failure
    has one of `makers`, where the queries leave it to a name, and is written as `failures` has it;
    it has no name of its own if `nameless`. With `whole_types`, a parameter's type is the
    declaration without the name; with `listed`, there are no parameters known where no list of them
    was found.
    """

    parameter: ParameterKind = "positional"
    receivers: frozenset[str] = frozenset()
    unbound: re.Pattern[str] | None = None
    told_by: Literal["signature", "returns", "both"] | None = None
    nothing: frozenset[str] = frozenset()
    see: Callable[[str], str | None] | None = None
    quiet: tuple[str, ...] = ()
    capital_errors: bool = False
    marks: tuple[bytes, ...] = (b"/",)
    spreads: frozenset[str] = frozenset()
    casts: frozenset[str] = frozenset()
    leaving: Mapping[str, How] = field(default_factory=dict)
    rescue: bytes = b""
    makers: Mapping[str, How] = field(default_factory=dict)
    failures: re.Pattern[str] | None = None
    nameless: frozenset[str] = frozenset()
    whole_types: bool = False
    listed: bool = False


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SCRIPT = Dialect(
    receivers=_words("this"),
    told_by="both",
    nothing=frozenset({*_words("undefined void never null"), "Promise<void>"}),
    see=_by_hash,
    marks=(b"/", b"..."),
    spreads=_words("spread_element"),
    leaving={"process.exit": "exits", "process.abort": "exits", "Deno.exit": "exits"},
)
_C = Dialect(
    told_by="signature",
    nothing=_words("void"),
    leaving=dict.fromkeys(
        ("exit", "_exit", "abort", "quick_exit", "std::exit", "std::abort", "std::terminate"),
        "exits",
    ),
    failures=re.compile(r"-\s*[A-Za-z_]\w*|-\s*\d+"),
    whole_types=True,
    listed=True,
)

DIALECTS: Mapping[str, Dialect] = {
    "python": Dialect(
        parameter="both",
        told_by="returns",
        capital_errors=True,
        receivers=_words("self cls mcs"),
        unbound=re.compile(r"(?:\w+\.)?(?:abstract)?staticmethod"),
        nothing=_words("None"),
        see=_by_underscore,
        quiet=("suppress", "raises", "ignor", "assert", "ExitStack"),
        marks=(b"=", b"*", b"#", b"\\"),
        spreads=_words("list_splat dictionary_splat"),
        leaving={"sys.exit": "exits", "os._exit": "exits", "os.abort": "exits"},
    ),
    "javascript": _SCRIPT,
    "typescript": _SCRIPT,
    "tsx": _SCRIPT,
    "go": Dialect(
        told_by="signature",
        see=_by_capital,
        marks=(b"/", b"..."),
        spreads=_words("variadic_argument"),
        leaving={
            "panic": "panics",
            **dict.fromkeys(("os.Exit", "log.Fatal", "log.Fatalf", "log.Fatalln"), "exits"),
        },
        rescue=b"recover()",
        failures=re.compile(
            r"errors\.New|fmt\.Errorf|(?:\w+\.)?[Ee]rr[A-Z]\w*|io\.(?:EOF|ErrUnexpectedEOF)"
        ),
        nameless=_words("errors.New fmt.Errorf"),
    ),
    "rust": Dialect(
        told_by="signature",
        nothing=_words("() !"),
        leaving={
            **dict.fromkeys(("panic!", "unreachable!", "todo!", "unimplemented!"), "panics"),
            **dict.fromkeys(("process::exit", "std::process::exit"), "exits"),
        },
        makers={"Err": "returns"},
    ),
    "java": Dialect(told_by="signature", nothing=_words("void"), leaving={"System.exit": "exits"}),
    "c": _C,
    "cpp": replace(_C, casts=_words("static_cast dynamic_cast const_cast reinterpret_cast")),
    "bash": Dialect(
        makers={"return": "returns", "exit": "exits"}, failures=re.compile(r"0*[1-9]\d*")
    ),
    "markdown": Dialect(),
}
