"""Which definition a call leads to, as far as names, imports and folders tell.

A wrong answer is worse than none: where two definitions fit, there is none. No types are inferred
but what the text around a call says of its receiver.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from llmc.indexer.common import is_telling
from llmc.indexer.imports import EVERYTHING, Binding, Parts
from llmc.models import Span

_FAMILIES = {"javascript": "script", "typescript": "script", "tsx": "script", "c": "c", "cpp": "c"}
_PACKAGE_FILES = frozenset({"__init__", "index", "mod", "lib"})
SELVES = frozenset({"self", "this", "cls", "Self"})
_ROOTS = frozenset({"crate", "self", "super"})
_NAME = r"[^\W\d]\w*"
_PATH = re.compile(rf"{_NAME}(?:\.{_NAME})*")


class Use(NamedTuple):
    """A call as it stands: `receiver` is what is before the name, "" for nothing.

    A receiver that is no plain path of names is "?"; of one that is made on the spot, as in
    `Stock().take()`, it is `Stock`. `owner` is the class it stands in; `around` is text that may
    say what a receiver is.
    """

    name: str
    receiver: str
    path: str
    lang: str
    bindings: Sequence[Binding] = ()
    owner: str = ""
    around: str = ""


def link(use: Use, namesakes: Iterable[Span]) -> Span | None:
    """Return the definition that a call leads to among all of its name, None if that is open."""
    found = [span for span in namesakes if find_family(span.lang) == find_family(use.lang)]
    if not found:
        return None
    return _link_qualified(use, found) if use.receiver else _link_bare(use, found)


def may_lead(use: Use, span: Span) -> bool:
    """Tell whether calls in a file can lead to a definition at all: soon, without a tree."""
    return find_family(use.lang) == find_family(span.lang) and (
        _sees(use, span) or (use.lang == "rust" and _module(span.path, span.lang)[-1:] != ())
    )


def find_family(lang: str) -> str:
    """Return the name that languages share whose files call each other."""
    return _FAMILIES.get(lang, lang)


def find_owner(symbol: str) -> str:
    """Return what a definition is a member of, "" for nothing."""
    return symbol.partition("(")[0].rpartition(".")[0]


def tidy_receiver(text: str) -> str:
    """Return a receiver as `Use` has it, from what stands between it and the name, too."""
    plain = re.sub(r"::|->|\?\.", ".", "".join(text.split())).strip(".&*")
    if match := re.fullmatch(rf"({_NAME}(?:\.{_NAME})*)\([^()]*\)", plain):
        made = match[1]
        return made if made.rpartition(".")[2][:1].isupper() else "?"
    return plain if not plain or _PATH.fullmatch(plain) else "?"


def _link_bare(use: Use, found: list[Span]) -> Span | None:
    free = [span for span in found if span.kind != "method"]
    here = [span for span in free if span.path == use.path]
    bound = [binding for binding in use.bindings if binding.local == use.name]
    if bound:
        return None if here else _only(_follow(bound, use, free))
    if here:
        return _only(here)
    family, folder = find_family(use.lang), _folder(use.path)
    beside = [span for span in free if _folder(span.path) == folder]
    if family in ("java", "c"):
        owned = [span for span in found if span.kind == "method" and _is_own(span, use)]
        if owned:
            return _only(owned)
    if family in ("go", "java") and beside:
        return _only(beside)
    if family == "c":
        return _only(free) if len(found) == 1 else None
    everything = [binding for binding in use.bindings if binding.local == EVERYTHING]
    return _only(_follow(everything, use, free)) if len(free) == 1 else None


def _link_qualified(use: Use, found: list[Span]) -> Span | None:
    methods = [span for span in found if span.kind == "method"]
    if use.receiver in SELVES:
        return _only([span for span in methods if _is_own(span, use)])
    free = [span for span in found if span.kind != "method"]
    head, _, rest = use.receiver.partition(".")
    bound = [binding for binding in use.bindings if binding.local in (use.receiver, head)]
    of_module = _follow_module(bound, use, free)
    if of_module:
        return _only(of_module)
    kind = use.receiver.rpartition(".")[2]
    of_class = [span for span in methods if find_owner(span.symbol).rpartition(".")[2] == kind]
    if of_class and not (bound and not rest and not _reaches_any(bound, use, of_class)):
        return _only([span for span in of_class if _sees(use, span)])
    typed = [span for span in methods if _is_of(use, find_owner(span.symbol))]
    if typed:
        return _only([span for span in typed if _sees(use, span)])
    is_open = use.receiver == "?" or bool(bound) or len(found) != 1
    if is_open or not methods or not is_telling(use.name):
        return None
    return methods[0] if _sees(use, methods[0]) else None


def _follow_module(bound: list[Binding], use: Use, free: list[Span]) -> list[Span]:
    """Return what a receiver leads to that is a module, or a namespace."""
    for binding in bound:
        parts = (*binding.module, *filter(None, (binding.name,)))
        if binding.local != use.receiver:
            parts += tuple(use.receiver.split(".")[1:])
        if exact := [span for span in free if _meets(binding.up, parts, use, span) == 2]:
            return exact
    steps = tuple(step for step in use.receiver.split(".") if step not in _ROOTS)
    family = find_family(use.lang)
    if family == "rust" and steps and not bound:
        return [span for span in free if _meets(None, steps, use, span) == 2]
    if family == "c":
        return [span for span in free if find_owner(span.symbol) == use.receiver]
    return []


def _follow(bindings: Sequence[Binding], use: Use, free: list[Span]) -> list[Span]:
    """Return the definitions of a call's name that bindings lead to.

    Those of a package around the named module, which may hand it on, count if there is but one.
    """
    is_near = False
    for binding in bindings:
        if binding.name not in (use.name, EVERYTHING):
            continue
        for span in free:
            met = _meets(binding.up, binding.module, use, span)
            if met == 2:
                return [
                    other for other in free if _meets(binding.up, binding.module, use, other) == 2
                ]
            is_near = is_near or met == 1
    return free if is_near and len(free) == 1 else []


def _meets(up: int | None, parts: Parts, use: Use, span: Span) -> int:
    """Tell how a module fits the place of a definition: 2 just so, 1 as one around it, 0 not."""
    there = _module(span.path, span.lang)
    if up is not None:
        base = tuple(use.path.split("/")[:-1])
        if up > len(base):
            return 0
        whole = (*base[: len(base) - up], *parts)
        return 2 if whole == there else int(there[: len(whole)] == whole)
    if not parts:
        return 0
    size = len(parts)
    if there[-size:] == parts:
        return 2
    family = find_family(span.lang)
    if family == "java":
        return 2 if there[:-1][-size:] == parts else 0
    if family == "rust" and size > 1 and there[1 - size :] == parts[1:]:
        return 2  # the first is what the crate is called
    if family == "go":
        return 2 if there and parts[-len(there) :] == there else 0
    return int(any(there[at : at + size] == parts for at in range(len(there) - size)))


def _module(path: str, lang: str) -> Parts:
    """Return the parts of what a file is imported as."""
    *folders, file = path.split("/")
    if find_family(lang) == "go":
        return tuple(folders)
    stem = file.partition(".")[0]
    return tuple(folders) if stem in _PACKAGE_FILES else (*folders, stem)


def _sees(use: Use, span: Span) -> bool:
    """Tell whether a call's file has to do with that of a definition."""
    if span.path == use.path:
        return True
    family = find_family(use.lang)
    if family in ("go", "java") and _folder(span.path) == _folder(use.path):
        return True
    return family == "c" or _reaches_any(use.bindings, use, [span])


def _reaches_any(bindings: Sequence[Binding], use: Use, spans: Sequence[Span]) -> bool:
    for binding in bindings:
        whole = (*binding.module, binding.name) if binding.name else binding.module
        for span in spans:
            if binding.up is None and not _share(whole, span.path):
                continue
            if _meets(binding.up, binding.module, use, span) or _meets(
                binding.up, whole, use, span
            ):
                return True
    return False


def _share(parts: Parts, path: str) -> bool:
    """Tell soon whether a module's parts may be those of a file, as nearly all are not."""
    return any(part in path for part in parts)


def _is_of(use: Use, owner: str) -> bool:
    """Tell whether the text around a call says that its receiver is of a class."""
    kind = re.escape(owner.rpartition(".")[2])
    if not kind or use.receiver == "?" or kind not in use.around:
        return False
    name = re.escape(use.receiver.rpartition(".")[2])
    path = r"(?:\w+(?:\.|::))*"
    said = (
        rf"(?<![\w]){name}\s*(?::=|=|:)\s*(?:await |new |mut |&)*{path}{kind}\b"
        rf"|(?<![\w]){kind}\s*[&*]*\s+{name}\s*[=;,)]|\b{name} \*?{path}{kind}\b"
    )
    return re.search(said, use.around) is not None


def _is_own(span: Span, use: Use) -> bool:
    return bool(use.owner) and span.path == use.path and find_owner(span.symbol) == use.owner


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def _only(found: Sequence[Span]) -> Span | None:
    return found[0] if len(found) == 1 else None
