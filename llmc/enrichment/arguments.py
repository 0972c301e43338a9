"""Claims about what a span is given: parameters, how many, by which names, with which defaults."""

from __future__ import annotations

import re
from collections.abc import Iterator

from llmc.enrichment.grounds import Finding, Ground, leave, prove, refute
from llmc.facts.values import Parameter

PARAMETER = "parameter"
ARITY = "arity"
KEYWORD = "keyword"

_NUMBERS = {
    "no": 0,
    "zero": 0,
    "one": 1,
    "single": 1,
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
}
_TAKES = re.compile(
    r"(?<!that )(?<!which )(?<!callable )(?<!who )\b(?:takes|accepts|expects|requires|has)\s+"
    r"(?:exactly\s+|only\s+|a\s+)?"
    r"(no|zero|one|single|two|three|four|five|six|seven|eight|\d)\s+"
    r"(?:(?:required|positional|input|mandatory)\s+)*(?:arguments?|parameters?|inputs?)\b",
    re.IGNORECASE,
)
_INPUT = re.compile(
    r"^\s*[`'\"]*([*&$]{0,2}[A-Za-z_$][\w$]*|\$\d)[`'\"]*\s*"
    r"(?:\([^)]*\)|:|=|-|–|—|,|\bis\b|$)"
)
_DEFAULT = re.compile(
    r"\bdefault(?:s|ing)?(?:\s+(?:to|is|value|of|value\s+is|value\s+of)|\s*[:=])*\s*"
    r"[`]*('[^']*'|\"[^\"]*\"|-?\d+(?:\.\d+)?(?![\w.])|True|False)",
)
_ELSEWHERE = re.compile(
    r"\bself\b|\bthis\.|\bglobals?\b|\benvironment\b|\bclosure\b|\bread from\b|"
    r"\b(?:instance|class|object|module)(?:['’]s)?(?:[- ]level)?\s+"
    r"(?:attribute|variable|field|constant|member|state|property|setting)|"
    r"\b(?:enclosing|outer)\s+(?:scope|function)",
    re.IGNORECASE,
)
"""Words that say that an input is read from somewhere, rather than given."""

_LITERAL = re.compile(r"'[^']*'|\"[^\"]*\"|-?\d+(?:\.\d+)?|True|False")
_NULLS = ("None", "null", "undefined")
"""Defaults in whose place a text may put another, which then stands in it."""

_NAME = r"[A-Za-z_$][\w$]*"


def check_input(text: str, ground: Ground) -> Iterator[Finding]:
    """Judge an entry `name: meaning` of the inputs."""
    match = _INPUT.match(text)
    if match is None:
        return
    name = match[1].lstrip("*&")
    found = find_parameter(name, ground)
    if found is not None:
        yield from _check_default(found, text, ground)
        yield prove(PARAMETER, f"{name} is a parameter")
        return
    finding = check_parameter(name, text, ground)
    if finding is not None:
        yield finding


def find_parameter(name: str, ground: Ground) -> Parameter | None:
    """Return the parameter of this name, also one that a pattern binds."""
    for entry in ground.facts.parameters or ():
        if entry.name.lstrip("*&") == name or name in entry.names:
            return entry
    return None


def check_parameter(name: str, text: str, ground: Ground) -> Finding | None:
    """Judge that a name which is no parameter is given to a span, or read by it, as `text` says."""
    arguments = ground.arguments
    if not ground.is_function or arguments is None:
        return None
    if any("property" in decorator for decorator in ground.facts.decorators):
        return leave(PARAMETER, f"{name} may be given to what the property returns")
    if any(entry.kind == "keywords" for entry in arguments):
        return leave(PARAMETER, f"{name} may be among the keywords it takes")
    apart = [entry.name for entry in arguments if entry.names or entry.name[:1] in "{[("]
    if apart and (name in ground.code_names or any(".." in pattern for pattern in apart)):
        return leave(PARAMETER, f"{name} may be part of what is taken apart")
    if name.istitle() and name.isalpha() and len(name) > 1 and name not in ground.code_names:
        return None  # a word of prose: "Note: ..."
    code = ground.code
    is_constant = name.isupper() and len(name) > 1
    if not (_ELSEWHERE.search(text) or (is_constant and name in ground.code_names)):
        takes = ", ".join(entry.name for entry in arguments) or "nothing"
        return refute(PARAMETER, f"{name} is no parameter: it takes {takes}")
    if re.search(rf"\b(?:self|this|cls)\s*(?:\.|->)\s*{re.escape(name)}\b", code):
        return leave(PARAMETER, f"{name} is an attribute, not a parameter")
    if re.search(rf"(?<![\w.$]){re.escape(name)}(?![\w$])", code):
        return leave(PARAMETER, f"{name} is read, but is not a parameter")
    return refute(PARAMETER, f"{name} is neither a parameter nor in the code")


def check_arity(text: str, ground: Ground) -> Iterator[Finding]:
    """Judge how many arguments a text says there are."""
    match, arguments = _TAKES.search(text), ground.arguments
    if match is None or arguments is None or not ground.is_function:
        return
    word = match[1].lower()
    said = _NUMBERS.get(word, int(word) if word.isdigit() else -1)
    least, most = count_arguments(arguments)
    if said < 0:
        return
    if said < least or (most is not None and said > most):
        yield refute(ARITY, f"it takes {least} to {'any number' if most is None else most}")
    else:
        yield prove(ARITY, f"it takes {said}")


def count_arguments(arguments: tuple[Parameter, ...]) -> tuple[int, int | None]:
    """Return how many arguments must be given, and how many can be; None for any number."""
    loose = any(entry.kind in ("rest", "keywords") for entry in arguments)
    fixed = [entry for entry in arguments if entry.kind not in ("rest", "keywords")]
    return sum(not entry.optional for entry in fixed), None if loose else len(fixed)


def check_usage(snippet: str, ground: Ground) -> Iterator[Finding]:
    """Judge the calls of the span itself in a snippet."""
    arguments, name = ground.arguments, ground.name
    if arguments is None or not ground.is_function or not re.fullmatch(_NAME, name):
        return
    loose = any(entry.kind == "keywords" for entry in arguments)
    rest = any(entry.kind == "rest" for entry in arguments)
    places = [entry for entry in arguments if entry.kind in ("positional", "both")]
    for match in re.finditer(rf"(?<![\w$]){re.escape(name)}\(", snippet):
        given = _split(snippet, match.end())
        if given is None or any(part.startswith(("*", "...")) for part in given):
            continue
        names = [found[1] for part in given if (found := re.match(rf"({_NAME})\s*=(?!=)", part))]
        for keyword in names if ground.language == "python" else ():
            if not loose and find_parameter(keyword, ground) is None:
                yield refute(KEYWORD, f"{keyword} is no parameter of {name}")
                return
        most = len(places)
        positional = len(given) - len(names) if ground.language == "python" else len(given)
        if positional > most and not rest and not _is_unbound(snippet, match.start(), ground):
            yield refute(ARITY, f"{name} takes {most} arguments by place, not {positional}")
            return
        yield prove(ARITY, f"{name} can be called so")


def _is_unbound(snippet: str, at: int, ground: Ground) -> bool:
    """Tell whether a method is called on its class, with the receiver for an argument."""
    return ground.facts.kind == "method" and snippet[:at].endswith(".")


def _split(text: str, start: int) -> list[str] | None:
    """Return the arguments of a call whose bracket opened before `start`; None without its end."""
    parts, depth, last, quote = [], 0, start, ""
    for at in range(start, min(len(text), start + 1000)):
        char = text[at]
        if quote:
            quote = "" if char == quote and text[at - 1] != "\\" else quote
        elif char in "'\"`":
            quote = char
        elif char in "([{":
            depth += 1
        elif char in ")]}" and depth:
            depth -= 1
        elif char == ")" or (char == "," and not depth):
            parts.append(text[last:at].strip())
            last = at + 1
            if char == ")":
                return [part for part in parts if part]
    return None


def _check_default(parameter: Parameter, text: str, ground: Ground) -> Iterator[Finding]:
    said, default = _DEFAULT.search(text), parameter.default
    if said is None or default is None:
        return
    literal = said[1].strip("'\"")
    if default in _NULLS:
        bare = re.escape(literal.replace("\\", ""))
        is_false = not re.search(rf"(?<![\w.]){bare}(?!\w)", ground.code)
    else:
        is_same = literal == default.strip("'\"") or _same_number(said[1], default)
        is_false = bool(_LITERAL.fullmatch(default)) and not is_same
    if is_false:
        yield refute("default", f"the default of {parameter.name} is {default}")


def _same_number(one: str, other: str) -> bool:
    try:
        return float(one) == float(other)
    except ValueError:
        return False
