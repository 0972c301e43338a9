"""Private keys: in PEM and its kin, whole or torn, in one line or many, and in base64 once more."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

_MARK = re.compile(r"-{4,5} ?(BEGIN|END) [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)? ?-{4,5}")
_RUN = re.compile(r"[A-Za-z0-9+/=]{16,}+")
_BODY = re.compile(
    r"(?:[\s\"'`+,.()#*>|;]|//|\\[nrt\\\"']?"  # line ends and what joins lines, in any language
    r"|[A-Z][A-Za-z-]{2,20}: [^\n\\]{0,200}+"  # headers, such as Proc-Type
    r"|[A-Za-z0-9+/=_-]{16,}+|[A-Za-z0-9+/]{1,15}={1,2})*+"
)
_PUTTY = re.compile(r"Private-Lines: \d{1,3}\r?\n((?:[A-Za-z0-9+/=]{1,80}\r?\n?){1,400})")
_ENCODED = re.compile(r"LS0tLS1CRUdJTi(?!BDRVJUS|BQVUJMSUM)[A-Za-z0-9+/]{40,}+={0,2}")
_JWK = re.compile(r"[\"'](?:d|p|q|dp|dq|qi|k)\\?[\"']\s{0,4}:\s{0,4}\\?[\"']([A-Za-z0-9_-]{20,}+)")
_AGE = re.compile(r"AGE-SECRET-KEY-1[0-9A-Z]{50,}+")


def find(text: str) -> Iterator[tuple[str, int, int]]:
    """Yield (rule, start, end) of what is private in each key; its first and last line stay."""
    if "PRIVATE KEY" in text:
        yield from _marked(text)
    if "Private-Lines" in text:
        yield from (("private key", *m.span(1)) for m in _PUTTY.finditer(text))
    if "LS0tLS1CRUdJTi" in text:
        yield from (("private key in base64", *m.span()) for m in _ENCODED.finditer(text))
    if "AGE-SECRET-KEY-1" in text:
        yield from (("private key", *m.span()) for m in _AGE.finditer(text))
    if "kty" in text:
        yield from (("private JSON web key", *m.span(1)) for m in _JWK.finditer(text))


def _marked(text: str) -> Iterator[tuple[str, int, int]]:
    marks = list(_MARK.finditer(text))
    for mark, following in pairwise([*marks, None]):
        if mark is None or mark[1] == "END":
            continue
        start, end = mark.end(), 0
        if following and following[1] == "END" and _holds_key(text, start, following.start()):
            end = following.start()
        elif body := _BODY.match(text, start, following.start() if following else len(text)):
            end = body.end() if _holds_key(text, start, body.end()) else 0
        if end:
            yield "private key", start, end


def _holds_key(text: str, start: int, end: int) -> bool:
    """Tell whether there is data: code that only speaks of keys has both marks, too."""
    return any(_is_data(run[0]) for run in _RUN.finditer(text, start, end))


def _is_data(run: str) -> bool:
    if run.startswith("MI"):  # what every such key begins with, in base64
        return True
    return (
        any(char.isdigit() or char in "+/=" for char in run)
        and any(map(str.isupper, run))
        and any(map(str.islower, run))
    )
