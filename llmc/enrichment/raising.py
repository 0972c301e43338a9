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
_NAMED = re.compile(rf"^\W*{_ERROR}\s*(?::|,?\s+(?:if|when|on|for|is)\b)")
"""An error that is named first, and then when it leaves."""

_LISTED = re.compile(_ERROR)
_SOME = re.compile(
    r"\b(?:raises?|throws?)\s+(?:an?\s+)?(?:\w+\s+)?(?:errors?|exceptions?)\b|"
    r"\b(?:raises|throws|panics)\s+(?:if|when|on|unless)\b",
    re.IGNORECASE,
)
_NOT = re.compile(
    r"\b(?:never|not|n't|without|no longer|rather than|instead of)\s+(?:ever\s+|be\s+)?"
    r"(?:raise|raises|raising|raised|throw|throws|throwing|thrown|panic)\b|"
    r"\b(?:raises?|throws?)\s+(?:no|nothing|neither)\b",
    re.IGNORECASE,
)
_CONDITION = re.compile(
    r"\b(?:if|when|unless|for|on|where|while|once|after|as|rather than|instead of)\b", re.IGNORECASE
)
"""Words that say that something holds in one case, which need not be that of a fact."""

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
    if first := _NAMED.match(text):
        found.update(dict.fromkeys(name for name in [first[1]] if _is_error(name)))
    found.update(dict.fromkeys(name for name in _RAISED.findall(text) if _is_error(name)))
    return list(found)


def check_raising(text: str, ground: Ground) -> Iterator[Finding]:
    """Judge what a text says of errors."""
    facts = ground.facts
    if not ground.is_function:
        return
    errors = find_errors(text)
    if _NOT.search(text):
        yield from _check_denial(text, errors, ground)
        return
    for error in errors:
        yield check_error(error, text, ground)
    if not errors and _SOME.search(text):
        if facts.raises:
            yield prove(KIND, f"an error leaves in line {facts.raises[0].line + 1} of it")
        elif ground.is_closed:
            yield refute(KIND, "nothing is raised, and nothing called that could")


def check_error(error: str, text: str, ground: Ground) -> Finding:
    """Judge that a span raises an error of this name, under the condition that a text has.

    Where the text speaks of what is known to raise another error, it is refuted; otherwise what is
    called may raise it.
    """
    facts = ground.facts
    last = take_last_name(error)
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
    if ground.is_closed:
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


def _check_denial(text: str, errors: list[str], ground: Ground) -> Iterator[Finding]:
    facts = ground.facts
    raised = [entry for entry in facts.raises if entry.how in ("raises", "panics")]
    in_a_case = _CONDITION.search(text)
    for entry in raised:
        named = [error for error in errors if _is_a(entry, take_last_name(error))]
        if in_a_case and not (named and _speaks_of(text, named[0], entry, ground)):
            continue
        if named or not errors:
            what = entry.error or "an error"
            yield refute(KIND, f"{what} leaves in line {entry.line + 1} of it")
            return
    yield leave(KIND, "what its callees raise isn't known")


def _is_a(entry: Raise, name: str) -> bool:
    """Tell whether what is raised is called so, or is a kind of that."""
    error = take_last_name(entry.error or "")
    if error == name:
        return True
    kinds = getattr(builtins, error, None), getattr(builtins, name, None)
    return all(isinstance(kind, type) for kind in kinds) and issubclass(kinds[0], kinds[1])  # type: ignore[arg-type]


def _is_error(name: str) -> bool:
    return take_last_name(name).endswith(_ERROR_ENDS) or take_last_name(name) in dir(builtins)


def take_last_name(name: str) -> str:
    """Return what a dotted name ends in, in any language's way to dot it."""
    return re.split(r"\.|::", name)[-1]
