"""Strings that are secrets by the name they are given, or by the place where they stand.

`password = "..."`, `"token": "..."`, `API_KEY=...`, `scheme://user:password@host`, a header with
its value. Most of what has such a name is no secret: a placeholder, a variable, a word. So behind a
name of a password must stand something that is no plain word, behind the others something that
looks drawn by lot.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

MOST = 4096
"""Characters of a value that are looked at; a longer one is a secret as far as that."""

_NAME = re.compile(r"pass(?:w(?:or)?d|phrase)?|pwd?|identified by|secret|token|credential|key")
_OF_A_KEY = re.compile(
    r"(?:api|access|auth|priv|private|encrypt|encryption|signing|sign|account|shared|master|client"
    r"|storage|session|app|service|admin|license|secret)[_. -]?$"
    r"|(?<!public)(?<!primary)(?<!foreign)(?<!result)(?<!output)(?<!sort)(?<!set)(?<=[a-z0-9])[_-]$"
)
_REST = re.compile(r"[A-Za-z0-9_.-]{0,40}+")
_OTHER_THING = re.compile(
    r"(?i)type|ur[il]|path|file|name|field|label|len|size|count|regex|pattern|format|prefix|suffix"
    r"|header|class|param|endpoint|expir|ttl|limit|i[sz]e|hint|prompt|text|message|error|help|env"
    r"|column|policy|min|max|index|kind|version|ary|ref|status|state|scope|hash|sha|md5|algo|method"
    r"|provider|strength|input|selector|placeholder|rule|valid|title|desc|location|dir|arn|public"
)
_QUOTED = re.compile(
    r"\\{0,3}[\"'`]?[\[\])}]{0,2}\s{0,4}"
    r"(?:(?:[: ]\s{0,3}[A-Za-z_&*][\w.\[\]|<>&*? ]{0,40}?)?"  # a type
    r"(?:=>|:=|\|\|=|\?\?=|={1,3}|!==?|:|,|\(|\{)|(?=[\"']))(?:\s|\\\n){0,80}\(?\s{0,40}"
    r"(?P<wrap>(?:new )?[\w.:&\[\]]{1,40}\(\s{0,40})?"
    r"[A-Za-z@$#]{0,2}(?P<open>\\{0,3}(?:\"\"\"\s{0,40}|\'\'\'\s{0,40}|[\"'`]))"
)
_BARE = re.compile(
    r"\\{0,3}[\"'`]?[\])]?(?:\s{0,4}[:=]\s{0,4}|>)(?P<value>[A-Za-z0-9_+/=.~!@#$%^*-]{6,512}+)"
    r"(?=[\s\"'`<&;,)\\]|$)"
)
_ARGUMENT = re.compile(r"=(?P<value>[^\s\"'`<>()\[\]{},;&]{6,512}+)(?=[\s\"'`<&;]|$)")
_AFTER_SPACE = re.compile(r"[ \t](?P<value>[^\s\"'`<>()\[\]{},;&]{6,512}+)(?=\s|$)")
_SETTING = re.compile(
    r"[ \t]{0,4}[:=][ \t]{0,4}(?P<value>[^\s\"'`<>()\[\]{},;]{6,512}+)(?=[ \t]{0,80}(?:[\r\n#]|$))"
)
_ENDS = {quote: re.compile(rf"[^{quote}\\\n]*+(?:\\[^\n][^{quote}\\\n]*+)*+") for quote in "\"'`"}
_ESCAPED_END = re.compile(r"[^\\\n]*+")

_URL = re.compile(r"://[^\s/:@\"'<>`]{0,64}:([^\s/@\"'<>`]{3,256})@[\w\[]")
_URL_TOKEN = re.compile(r"://([A-Za-z0-9_-]{12,256})@[\w\[]")
_AUTH = re.compile(r"\"auth\\?\"\s{0,4}:\s{0,4}\\?\"([A-Za-z0-9+/]{12,512}={0,2})\\?\"")
_FLAGS = (
    (
        "curl",
        re.compile(
            r"curl\b[^\n]{0,200}?\s(?:-u|--user)[ =]?[\"']?[^\s:\"']{1,64}:([^\s\"']{4,128})"
        ),
    ),
    ("mysql", re.compile(r"mysql\w{0,10}\b[^\n]{0,200}?\s-p[\"']?([^\s\"']{4,128})")),
    ("sshpass", re.compile(r"sshpass\s{1,4}-p\s{0,4}[\"']?([^\s\"']{4,128})")),
)
_MAKES_TEXT = re.compile(r"(?i)str|secret|password|bytes|sensitive|some|from")
_HEADER = re.compile(r"(?:basic|bearer|token|apikey)[ :]{1,3}([a-z0-9+/_.~=-]{16,})")

_UNREAL = re.compile(
    r"(?i)\*\*\*|\.\.\.|…|\$\{|\{\{|\$\(|%\(|#\{|\{\w*\}|<\w|%s|placeholder|change.?me|your"
    r"|xxx|\(\?|\\s|redacted|dummy|sample|insert|replace|todo|fake|mock|invalid|wrong|incorrect|bogus|://"
)
_WORDS = re.compile(
    r"(?i)passw(?:or)?d|passphrase|secret|token|test(?:ing)?|admin|user(?:name)?|root|guest|login"
    r"|key|example|foo|bar|baz|qux|spam|eggs|default|demo|string|none|null|true|false|value|hello|world"
    r"|pass|pwd|api|auth|my|the|new|old|abc|def|1234567890|123456789|12345678|1234567|123456|12345"
    r"|1234|123"
)
_SEGMENT = re.compile(r"[A-Za-z]*\d{0,3}|v?\d+")
_SPLIT = re.compile(r"[-_./: ,|]")
_DATED = re.compile(r"(?=(?:\D*\d){2})[\w.-]+")
"""Joined words with two digits or more: so people make up passwords, too (`Summer_2024`)."""

_HEX = re.compile(r"[0-9a-fA-F-]{16,}")


def find(text: str) -> Iterator[tuple[str, int, int]]:
    """Yield (rule, start, end) of each value that is likely a secret."""
    lower = text.replace("İ", "I").lower()  # the one letter that gets longer in lower case
    yield from _named(text, lower)
    if "://" in text:
        for match in _URL.finditer(text):
            if not _is_unreal(match[1]) and not _WORDS.fullmatch(match[1]):
                yield "password in a URL", *match.span(1)
        for match in _URL_TOKEN.finditer(text):
            if is_random(match[1]) and not _is_unreal(match[1]):
                yield "token in a URL", *match.span(1)
    for word, pattern in _FLAGS:
        if word in text:
            for match in pattern.finditer(text):
                if _is_password(match[1]) and not _is_unreal(match[1]):
                    yield "password of a command", *match.span(1)
    for match in _AUTH.finditer(text):
        if is_random(match[1]):
            yield "registry login", *match.span(1)
    for match in _HEADER.finditer(lower):
        value = text[match.start(1) : match.end(1)]
        if is_random(value) and not _is_unreal(value):
            yield "authorization header", *match.span(1)


def _named(text: str, lower: str) -> Iterator[tuple[str, int, int]]:
    end = 0
    for name in _NAME.finditer(lower):
        if name.start() < end or not _is_name_of_secret(name, lower):
            continue
        rest = _REST.match(text, name.end())
        assert rest, "it may be empty"
        later = _NAME.search(lower, name.end(), rest.end())
        if later and _is_name_of_secret(later, lower):
            continue  # the last word of a name says what it is
        is_password = name[0].startswith(("pass", "pw", "ident"))
        found = _quoted(text, rest.end(), is_password=is_password)
        found = found or _bare(text, name.start(), rest.end(), is_password=is_password)
        if found and not _OTHER_THING.search(rest[0]):
            end = found[1]
            yield "password" if is_password else "named secret", *found


def _is_name_of_secret(name: re.Match[str], lower: str) -> bool:
    """Tell whether a word names a secret: not every key does, and some words only hold a `pass`."""
    before = lower[max(0, name.start() - 14) : name.start()]
    after = lower[name.end() : name.end() + 1]
    if name[0] == "key":
        return _OF_A_KEY.search(before) is not None
    return name[0] not in ("pass", "pwd", "pw") or not (before[-1:].isalpha() or after.isalpha())


def _quoted(text: str, start: int, *, is_password: bool) -> tuple[int, int] | None:
    """Return where the string stands that a name is given, None if it is no secret."""
    opening = _QUOTED.match(text, start)
    if not opening:
        return None
    quote = opening["open"]
    closing = _ESCAPED_END if quote.startswith("\\") else _ENDS[quote[0]]
    content = closing.match(text, opening.end(), opening.end() + MOST)
    assert content, "it may be empty"
    value = content[0]
    if _is_unreal(value) or any(map(str.isspace, value)):
        return None
    plain = not opening["wrap"] or _MAKES_TEXT.match(opening["wrap"])
    odd = len(value) >= 8 and any(map(str.isdigit, value)) and not _is_joined(value)
    strong = is_password or odd
    if is_random(value) or (plain and strong and _is_password(value)):
        return content.span()
    return None


def _bare(text: str, name: int, start: int, *, is_password: bool) -> tuple[int, int] | None:
    """Return where a value without quotes stands, None if there is none, or no secret."""
    if is_password and (password := _bare_password(text, name, start)):
        return password
    found = _BARE.match(text, start)
    if not found or _is_unreal(found["value"]):
        return None
    value = found["value"].rstrip(".,")
    start = found.start("value")
    return (start, start + len(value)) if is_random(value) else None


def _bare_password(text: str, name: int, start: int) -> tuple[int, int] | None:
    """Return where a password stands without quotes: as `NAME=value`, alone on its line, or
    behind a flag or a login."""
    before = text[text.rfind("\n", max(0, name - 80), name) + 1 : name]
    found = _ARGUMENT.match(text, start)
    if not found and _is_key(before):
        found = _SETTING.match(text, start)
    if not found and (before.endswith("--") or "login " in before):
        found = _AFTER_SPACE.match(text, start)
    if found and not _is_unreal(found["value"]) and _is_password(found["value"]):
        return found.span("value")
    return None


def _is_key(before: str) -> bool:
    """Tell whether what stands before a name leaves it the first word of its line."""
    before = before.strip().removeprefix("export ").removeprefix("- ")
    return not before or before.replace("_", "").replace("-", "").replace(".", "").isalnum()


def _is_unreal(value: str) -> bool:
    """Tell whether a value stands for a secret rather than being one."""
    return len(set(value)) < 4 or bool(_UNREAL.search(value)) or value[:1] in "$<%{["


def is_random(value: str) -> bool:
    """Tell whether a value looks drawn by lot: letters and digits, in no order that words have."""
    if len(value) < 12 or len(set(value)) < 8:
        return False
    digits, letters = sum(map(str.isdigit, value)), sum(map(str.isalpha, value))
    if not letters:
        return False
    changes = sum(_is_change(a, b) for a, b in pairwise(map(_kind, value)))
    if not digits:
        return len(value) >= 20 and value.isalpha() and changes > 0.2 * len(value)
    if _HEX.fullmatch(value):
        return digits > 1
    return not _is_name(value) and changes >= 0.2 * len(value)


def _is_password(value: str) -> bool:
    """Tell whether a value may be a password: no plain word, no path, no name of a variable."""
    if len(value) < 6 or value[:1] in "/.~-" or not value.isprintable():
        return False
    left = _WORDS.sub("", value)
    letters = any(map(str.isalpha, left))
    digits = any(map(str.isdigit, left))
    special = any(not char.isalnum() and char not in "_-./: ,|()[]" for char in left)
    if _is_joined(value) and not _DATED.fullmatch(value):
        return False
    return letters and (digits or special) and len(left) > 3


def _is_joined(value: str) -> bool:
    """Tell whether a value is a name of several words."""
    return _SPLIT.search(value) is not None and _is_name(value)


def _is_name(value: str) -> bool:
    """Tell whether a value is made of words, with a number behind some, as names of things are."""
    return all(map(_SEGMENT.fullmatch, _SPLIT.split(value)))


def _kind(char: str) -> str:
    if char.isdigit():
        return "digit"
    if char.isalpha():
        return "capital" if char.isupper() else "letter"
    return "mark"


def _is_change(kind: str, following: str) -> bool:
    """Tell whether a character is not of the kind of the one before; after a capital, words go on
    in small letters."""
    return kind != following and (kind, following) != ("capital", "letter")
