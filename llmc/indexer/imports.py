"""What a file sees of others, by its imports as they are written.

Read by patterns over the text, as a whole tree costs fifty times as much; what stands in a string
may pass for an import. Nothing follows from that alone: a name must be defined where it leads.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import pairwise
from typing import NamedTuple

Parts = tuple[str, ...]

EVERYTHING = "*"

MAX_BINDINGS = 500
"""Names that are read of a file's imports; those of a file that people wrote are fewer."""

_PYTHON_FROM = re.compile(
    r"^[ \t]*from[ \t]+(\.*)([\w.]*)[ \t]+import[ \t]+(\([^)]{0,4000}+\)|[^\n]{0,1000}+)",
    re.MULTILINE,
)
_PYTHON_IMPORT = re.compile(r"^[ \t]*import[ \t]+([\w., \t]{1,1000})", re.MULTILINE)
_COMMENT = re.compile(r"#[^\n]*")
_AS = re.compile(r"(\*|[\w.]+)(?:[ \t]+as[ \t]+(\w+))?")
_SCRIPT_FROM = re.compile(
    r"\b(?:import|export)\b([^'\"`;()=]{1,2000}+)['\"]([^'\"\n]{1,300}+)['\"]"
)
_SCRIPT_REQUIRE = re.compile(
    r"\b(?:const|let|var)\s+(\w+|\{[^}]{0,2000}+\})\s*=\s*(?:await\s+)?(?:require|import)\(\s*"
    r"['\"]([^'\"\n]{1,300})['\"]\s*\)"
)
_SCRIPT_NAME = re.compile(r"(?:type\s+)?([\w$]+)(?:\s*(?::|\bas\b)\s*([\w$]+))?")
_SCRIPT_ALL = re.compile(r"\*\s*as\s+([\w$]+)")
_SUFFIX = re.compile(r"\.(?:[mc]?[jt]sx?)$")
_GO = re.compile(r"^(?:[ \t]+|import[ \t]+)(?:([\w.]+)[ \t]+)?\"([^\"\n]{1,300})\"", re.MULTILINE)
_RUST = re.compile(r"^[ \t]*(?:pub[ \t]+)?use[ \t]+([^;]{1,2000});", re.MULTILINE)
_RUST_NAME = re.compile(r"(.*?)(\w+|\*)(?:\s+as\s+(\w+))?", re.DOTALL)
_RUST_ROOTS = frozenset({"crate", "self", "super", ""})
_JAVA = re.compile(r"^[ \t]*import[ \t]+(?:static[ \t]+)?([\w.]+)\.(\w+|\*)[ \t]*;", re.MULTILINE)


class Binding(NamedTuple):
    """A `local` name, or everything, that stands for a `name` of a module; None: for the module.

    `up` is how many folders above the file's own the module's path begins; None: wherever modules
    are looked for.
    """

    local: str
    module: Parts
    name: str | None = None
    up: int | None = None


def read_bindings(language: str, text: str) -> tuple[Binding, ...]:
    """Return what the imports of a file bind, in their order."""
    read = _READERS.get(language)
    return (
        tuple(found for found, _ in zip(read(text), range(MAX_BINDINGS), strict=False))
        if read
        else ()
    )


def _python(text: str) -> Iterator[Binding]:
    for dots, module, listed in _PYTHON_FROM.findall(text):
        parts = tuple(filter(None, module.split(".")))
        for item in _COMMENT.sub("", listed).strip("()").split(","):
            if match := _AS.match(item.strip()):
                name = match[1]
                yield Binding(match[2] or name, parts, name, len(dots) - 1 if dots else None)
    for listed in _PYTHON_IMPORT.findall(text):
        for item in listed.split(","):
            if match := _AS.fullmatch(item.strip()):
                yield Binding(match[2] or match[1], tuple(filter(None, match[1].split("."))))


def _script(text: str) -> Iterator[Binding]:
    for listed, place in (*_SCRIPT_FROM.findall(text), *_SCRIPT_REQUIRE.findall(text)):
        make = partial(_make_script, place)
        listed = listed.strip().removesuffix("from").removeprefix("type ")
        outer, _, inner = listed.partition("{")
        for item in inner.partition("}")[0].split(","):
            if match := _SCRIPT_NAME.fullmatch(item.strip()):
                yield make(match[2] or match[1], match[1])
        if match := _SCRIPT_ALL.search(outer):
            yield make(match[1], None)
        elif re.fullmatch(r"[\w$]+", outer.strip(" ,\n")):
            yield make(outer.strip(" ,\n"), None)


def _make_script(place: str, local: str, name: str | None) -> Binding:
    steps = _SUFFIX.sub("", place).split("/")
    up = None
    if steps[0] in (".", ".."):
        up = steps.count("..")
        steps = [step for step in steps if step not in (".", "..")]
    if steps and steps[-1] == "index":
        steps.pop()
    return Binding(local, tuple(filter(None, steps)), name, up)


def _go(text: str) -> Iterator[Binding]:
    for local, path in _GO.findall(text[: text.find("\nfunc ")]):
        parts = tuple(filter(None, path.split("/")))
        if parts:
            yield Binding(EVERYTHING if local == "." else local or parts[-1], parts)


def _rust(text: str) -> Iterator[Binding]:
    for tree in _RUST.findall(text):
        yield from _rust_tree((), " ".join(tree.split()), 4)


def _rust_tree(head: Parts, tree: str, depth: int) -> Iterator[Binding]:
    """Read `a::b::{c, d as e, f::g}`, in braces at most `depth` deep."""
    outer, brace, inner = tree.partition("{")
    if brace:
        head += _steps(outer)
        for item in _split_outside_braces(inner.rpartition("}")[0]) if depth else ():
            yield from _rust_tree(head, item, depth - 1)
    elif match := _RUST_NAME.fullmatch(tree.strip()):
        parts, name = head + _steps(match[1]), match[2]
        if name == "self" and parts:
            yield Binding(match[3] or parts[-1], parts)
        else:
            yield Binding(match[3] or name, parts, name)


def _steps(path: str) -> Parts:
    return tuple(step for step in path.strip().split("::") if step.strip() not in _RUST_ROOTS)


def _split_outside_braces(text: str) -> Iterator[str]:
    depth, cuts = 0, [-1]
    for at, char in enumerate(text):
        depth += (char == "{") - (char == "}")
        if char == "," and depth == 0:
            cuts.append(at)
    for start, end in pairwise([*cuts, len(text)]):
        yield text[start + 1 : end].strip()


def _java(text: str) -> Iterator[Binding]:
    for package, name in _JAVA.findall(text):
        yield Binding(name, tuple(package.split(".")), name)


_READERS: Mapping[str, Callable[[str], Iterator[Binding]]] = {
    "python": _python,
    "javascript": _script,
    "typescript": _script,
    "tsx": _script,
    "go": _go,
    "rust": _rust,
    "java": _java,
}
"""By language; those that are not here, as C, have no imports that name what they bring."""
