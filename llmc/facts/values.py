"""The facts of a span as values. Lines count from 0, the first line of the span.

Named tuples, as a cold index makes them by the hundred thousand: they are made in a fifth of the
time that a frozen dataclass takes, and JSON takes them as they are.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

ParameterKind = Literal["positional", "both", "keyword", "rest", "keywords", "receiver"]
"""How an argument is given: by its place, by its place or name, by its name; `rest` and `keywords`
take any number of them; a `receiver` is what a method is called on."""

Returns = Literal["value", "nothing", "both", "yields", "unknown"]
"""What comes back: `both` is a value on some ways, nothing on others; `unknown` is not proven."""

How = Literal["raises", "panics", "returns", "exits"]
"""In which way of its language a failure leaves: an exception, a panic, a returned error or code,
the end of the process."""

MAX_ITEMS, MAX_PARAMETERS = 50, 200
"""Entries kept of each list; a span with more has the list's name in `more`."""

MAX_TEXT = 160
"""Characters kept of a name, a guard, a default; a longer one ends in an ellipsis."""

MAX_DOC = 4_000


class Parameter(NamedTuple):
    """A parameter as it is declared; of a destructured one, `name` is the pattern as written.

    `names` are what a pattern binds. Default and annotation are the source's text; an `optional`
    parameter may be left out, with or without a default.
    """

    name: str
    kind: ParameterKind
    annotation: str | None = None
    default: str | None = None
    optional: bool = False
    names: tuple[str, ...] = ()


class Returned(NamedTuple):
    """What comes back, and the lines of returns with a value, of those without, and of yields."""

    what: Returns = "unknown"
    valued: tuple[int, ...] = ()
    bare: tuple[int, ...] = ()
    yields: tuple[int, ...] = ()


class Raise(NamedTuple):
    """An error that leaves the span from a line, if that is reached.

    `error` is the name of its type, None where the text has no name for it (a variable, what was
    caught). `guard` are the conditions around it, None if there are none: it is necessary there,
    but what came before may have left the span already. `message` is its literal, as written.
    """

    line: int
    error: str | None = None
    guard: str | None = None
    message: str | None = None
    how: How = "raises"


class Call(NamedTuple):
    """A name that is called; with an `open` end, `arguments` and `keywords` are the least."""

    name: str
    line: int
    arguments: int = 0
    keywords: tuple[str, ...] = ()
    open: bool = False


class Touch(NamedTuple):
    """A resource outside of the program that the span has to do with, and by which name."""

    resource: str
    name: str
    line: int


class Facts(NamedTuple):
    """What is proven of a span.

    `parameters` is None of what takes none by its nature, as a class. `result` is the declared type
    of what is returned. `declared` are the errors that a signature declares. `writes` are
    attributes and globals, as written. `more` names the lists that were cut; a span that is not
    `sound` has damaged syntax, so that there may be more in it of everything.
    """

    kind: str
    parameters: tuple[Parameter, ...] | None = None
    result: str | None = None
    returns: Returned = Returned()
    raises: tuple[Raise, ...] = ()
    declared: tuple[str, ...] = ()
    calls: tuple[Call, ...] = ()
    writes: tuple[str, ...] = ()
    touches: tuple[Touch, ...] = ()
    decorators: tuple[str, ...] = ()
    visibility: str | None = None
    is_async: bool = False
    bases: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    doc: str | None = None
    more: tuple[str, ...] = ()
    sound: bool = True
