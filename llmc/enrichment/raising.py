"""Claims about errors, against the errors that were proven to leave a span."""

from __future__ import annotations

import builtins
import re
from collections.abc import Iterator

from llmc.enrichment.grounds import Finding, Ground, leave, prove, refute
from llmc.facts.values import Raise

KIND = "raises"

_ERROR = r"[`'\"]*((?:[A-Za-z_]\w*(?:\.|::))*[A-Z]\w*)[`'\"]*"
_RAISES = re.compile(
    rf"\b(?i:raises?|raising|throws?|throwing)\s+(?:an?\s+|the\s+)?(?:[a-z]+\s+)?{_ERROR}"
    rf"((?:\s*(?:,|or|and|/)\s*(?:or\s+|an?\s+)*{_ERROR})*)"
)
_RAISED = re.compile(rf"{_ERROR}\s+(?:is|are|will be|may be|can be|gets|being)\s+(?:raised|thrown)")
_LISTED = re.compile(_ERROR)
_SOME = re.compile(
    r"\b(?:raises?|throws?)\s+(?:an?\s+)?(?:\w+\s+)?(?:errors?|exceptions?)\b", re.IGNORECASE
)
_NOT = re.compile(
    r"\b(?:never|not|n't|without|no longer|rather than|instead of)\s+(?:ever\s+|be\s+)?"
    r"(?:raise|raises|raising|raised|throw|throws|throwing|thrown|panic)\b|"
    r"\b(?:raises?|throws?)\s+(?:no|nothing|neither)\b",
    re.IGNORECASE,
)
_COMMON_WORDS = """
    if is in on of or an as at be by it no to when the not and are was for has any with that this
    from raise raises raised raising throw throws thrown error errors exception exceptions case
    except self none true false does must should will can cannot given but only
"""
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_COMMON = frozenset(_COMMON_WORDS.split())
"""Words that tell no condition from another."""

_CHECKED_NAMES = """
    IOException FileNotFoundException EOFException UnsupportedEncodingException
    MalformedURLException UnknownHostException SocketException URISyntaxException SQLException
    InterruptedException ExecutionException TimeoutException CloneNotSupportedException
    ReflectiveOperationException ClassNotFoundException NoSuchMethodException NoSuchFieldException
    IllegalAccessException InstantiationException InvocationTargetException ParseException
    GeneralSecurityException NoSuchAlgorithmException InvalidKeyException
"""
_CHECKED = frozenset(_CHECKED_NAMES.split())
"""Errors that leave a Java method only if it declares them, or a kind that they belong to."""

_BY_ITSELF_NAMES = """
    NullPointerException ArrayIndexOutOfBoundsException IndexOutOfBoundsException
    StringIndexOutOfBoundsException NegativeArraySizeException ArrayStoreException
    ClassCastException ArithmeticException StackOverflowError OutOfMemoryError
"""
_BY_ITSELF = frozenset(_BY_ITSELF_NAMES.split())
"""Errors that Java raises itself, beside what a text raises under a condition on the same names."""

_ERROR_ENDS = ("Error", "Exception", "Warning", "Exit", "Interrupt", "Iteration", "Timeout")


def find_errors(text: str) -> list[str]:
    """Return the names of the errors that a text says are raised, in their order."""
    found: dict[str, None] = {}
    for match in _RAISES.finditer(text):
        names = [match[1], *(name for name in _LISTED.findall(match[2] or ""))]
        found.update(dict.fromkeys(name for name in names if _is_error(name)))
    found.update(dict.fromkeys(name for name in _RAISED.findall(text) if _is_error(name)))
    return list(found)


def check_raising(text: str, ground: Ground) -> Iterator[Finding]:
    """Judge what a text says of errors."""
    facts = ground.facts
    if not ground.is_function:
        return
    errors = find_errors(text)
    if _NOT.search(text):
        yield from _check_denial(errors, ground)
        return
    for error in errors:
        yield check_error(error, text, ground)
    if not errors and _SOME.search(text):
        if facts.raises:
            yield prove(KIND, f"an error leaves in line {facts.raises[0].line + 1} of it")
        elif _is_closed(ground):
            yield refute(KIND, "nothing is raised, and nothing called that could")


def check_error(error: str, text: str, ground: Ground) -> Finding:
    """Judge that a span raises an error of this name, under the condition that a text has.

    Where the text speaks of what is known to raise another error, it is refuted; otherwise what is
    called may raise it.
    """
    facts = ground.facts
    last = _last(error)
    proven = [entry for entry in facts.raises if entry.how == "raises"]
    same = next((entry for entry in proven if _is_a(entry, last)), None)
    if same is not None:
        return prove(KIND, f"{same.error} leaves in line {same.line + 1} of it")
    if last in facts.declared or error in facts.declared:
        return prove(KIND, f"{error} is declared")
    if last in ground.code_names:
        return leave(KIND, f"{error} is in the text, but was not proven to leave")
    if not facts.sound or "raises" in facts.more:
        return leave(KIND, "not everything that it raises is known")
    if proven and all(entry.error == "NotImplementedError" for entry in proven):
        return leave(KIND, "it is left to others to implement")
    if any(entry.error is None for entry in proven):
        return leave(KIND, "an error leaves whose name isn't known")
    if ground.language == "java" and not facts.declared and last in _CHECKED:
        return refute(KIND, f"{last} leaves only if it is declared, and nothing is")
    for entry in proven if last not in _BY_ITSELF else ():
        if _speaks_of(text, error, entry, ground):
            where = f"line {entry.line + 1} of it"
            return refute(KIND, f"what leaves under that condition is {entry.error}, in {where}")
    if _is_closed(ground):
        return refute(KIND, f"nothing is raised, and nothing called that could raise {error}")
    return leave(KIND, f"a callee may raise {error}")


def _speaks_of(text: str, error: str, entry: Raise, ground: Ground) -> bool:
    """Tell whether a text has words of the guard, the message or the line of an error, or no
    others."""
    said = _words(text.replace(error, " "))
    line = ground.source.splitlines()[entry.line : entry.line + 1]
    there = " ".join((entry.guard or "", entry.message or "", *line))
    return not said or bool(said & _words(there))


def _words(text: str) -> set[str]:
    """Return the words that tell conditions apart, without their endings, those of names singly."""
    found = re.findall(r"[a-z0-9]{2,}", _HUMP.sub(" ", text).lower())
    return {word[:6] for word in found if word not in _COMMON}


def _check_denial(errors: list[str], ground: Ground) -> Iterator[Finding]:
    facts = ground.facts
    raised = [entry for entry in facts.raises if entry.how in ("raises", "panics")]
    for entry in raised:
        if not errors or any(_is_a(entry, _last(error)) for error in errors):
            what = entry.error or "an error"
            yield refute(KIND, f"{what} leaves in line {entry.line + 1} of it")
            return
    yield leave(KIND, "what its callees raise isn't known")


def _is_closed(ground: Ground) -> bool:
    """Tell whether a span can raise only what it raises itself, as it calls nothing.

    Operators may still raise: only a text without subscripts, arithmetic and attributes is closed.
    """
    facts = ground.facts
    if facts.calls or not facts.sound:
        return False
    return not re.search(
        r"[-\[/*%+.@]|\b(?:import|with|for|in|await|assert|new)\b", _body(ground.code)
    )


def _body(code: str) -> str:
    return code.partition("\n")[2] or code.partition(":")[2]


def _is_a(entry: Raise, name: str) -> bool:
    """Tell whether what is raised is called so, or is a kind of that."""
    error = _last(entry.error or "")
    if error == name:
        return True
    kinds = getattr(builtins, error, None), getattr(builtins, name, None)
    return all(isinstance(kind, type) for kind in kinds) and issubclass(kinds[0], kinds[1])  # type: ignore[arg-type]


def _is_error(name: str) -> bool:
    return _last(name).endswith(_ERROR_ENDS) or _last(name) in dir(builtins)


def _last(name: str) -> str:
    return re.split(r"\.|::", name)[-1]
