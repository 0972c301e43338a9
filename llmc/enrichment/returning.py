"""Claims about what comes back, and when, against what was proven of returns."""

from __future__ import annotations

import re
from collections.abc import Iterator

from llmc.enrichment.grounds import Finding, Ground, leave, prove, refute

KIND = "returns"
ASYNC = "async"
EFFECTS = "effects"

_NOTHING = re.compile(
    r"(?<!else )(?<!otherwise )(?<!or )(?<!never )(?<!not )(?<!n't )\b(?:returns?|returning)\s+"
    r"(?:nothing|no\s+values?|none|void|undefined)\b"
    r"(?!\s+(?:if|when|unless|on|in|for|or|where|otherwise|after|until|instead|"
    r"useful|else|more|other|but|except|of)\b)|"
    r"\b(?:does|do|did)(?:\s+not|n't)\s+return\s+(?:anything|any\s+value|a\s+value|values?)\b|"
    r"\bhas\s+no\s+return\s+value\b",
    re.IGNORECASE,
)
_NOTHING_FIRST = re.compile(
    r"[\W_]*(?:none|nothing|void|null|n/?a|undefined|no output|promise<void>)[\W_]*(?:$|[:,.]\s)",
    re.IGNORECASE,
)
_VALUE = re.compile(
    r"\b(?:returns|return(?=\s+(?:an?|the)\b)|it returns|returning)\s+"
    r"(?!(?:nothing|none|no|void|undefined|null|to|from|early|immediately|without|control|if|when|"
    r"silently|directly|at|back|only|once|after|before|until|and|or|early)\b)[\w`'\"*{\[(<:]",
    re.IGNORECASE,
)
_GIVES_BACK = re.compile(r"\breturns\s+(?:[^,.;]|\.(?=\w))*\bto\s+(?:the|an?|its)\b", re.IGNORECASE)
"""Something is returned to its place, not to the caller."""

_YIELDS = re.compile(r"\byield(?:s|ed|ing)?\b(?!\s+(?:from|to|up|control))", re.IGNORECASE)
_PROMISED = re.compile(r"\b(?:promise|coroutine|awaitable|future|task)\b", re.IGNORECASE)
_EFFECT = re.compile(
    r"^\W*(?:it\s+)?(?:prints?|writes?|logs?|modif\w+|updat\w+|sets?|rais\w+|throws?|creat\w+|chang\w+|"
    r"clos\w+|sends?|delet\w+|remov\w+|stor\w+|adds?|append\w*|side|files?|exit\w*|emit\w*|output)\b",
    re.IGNORECASE,
)
_ASYNC = re.compile(
    r"\b(?:asynchronously|is\s+asynchronous|asynchronous\s+(?:function|method)|is\s+async|"
    r"async\s+(?:function|method)|must be awaited|"
    r"(?:is|as|returns|this)\s+(?:a\s+)?coroutine|"
    r"returns\s+a\s+promise)\b",
    re.IGNORECASE,
)
_SYNC = re.compile(
    r"\b(?:is|runs|works|executes)\s+synchronous(?:ly)?\b|\bnot\s+async\b", re.IGNORECASE
)
_WAITS = re.compile(r"\b(?:async|await|Promise|Future|Task|coroutine|asyncio|then|suspend)\b")
_PURE = re.compile(
    r"\bno\s+side[- ]effects?\b|\bis\s+(?:a\s+)?pure\b|"
    r"\b(?:does\s+not|doesn't|never)\s+(?:modify|change|touch|write|mutate)\s+"
    r"(?:anything|any\s+state)\b",
    re.IGNORECASE,
)
_TRANSPARENT = re.compile(
    r"^@?(?:(?:typing\.)?final|property|staticmethod|classmethod|override|Override|abstractmethod|abc\.abstractmethod|"
    r"typing\.override|cache|(?:functools\.)?(?:cache|lru_cache|cached_property))\b|\.(?:setter|deleter|getter)$"
)
"""Decorators that give back what is returned."""

_RESOURCES = {
    "files": r"\b(?:files?|disk|director(?:y|ies)|folders?|paths?)\b",
    "network": r"\b(?:network|http|requests?|sockets?|server|urls?|connections?)\b",
    "processes": r"\b(?:process(?:es)?|subprocess|commands?|exits?|programs?)\b",
    "environment": r"\benvironment\b|\benv\b",
    "database": r"\b(?:database|db|sql)\b",
    "streams": r"\b(?:prints?|std(?:out|err|in)|console|terminal|standard\s+(?:output|error))\b",
}


def check_returning(text: str, ground: Ground, *, is_output: bool = False) -> Iterator[Finding]:
    """Judge what a text says of what comes back; an `is_output` says it in every case."""
    facts = ground.facts
    if not ground.is_function or not facts.sound or facts.returns.what == "unknown":
        return
    if is_left_to_others(ground):
        return
    told = facts.returns.what
    says = (_VALUE.search(text) and not _GIVES_BACK.search(text)) or (
        is_output and not _EFFECT.search(text)
    )
    denied = _NOTHING.search(text)
    if (denied and not _VALUE.search(_NOTHING.sub(" ", text))) or (
        is_output and _NOTHING_FIRST.match(text)
    ):
        if told == "nothing":
            yield prove(KIND, "it returns nothing")
        elif told in ("value", "yields") and not _may_be_nothing(ground):
            yield refute(KIND, f"it {'yields' if told == 'yields' else 'returns a value'}")
        return
    if _YIELDS.search(text):
        if told == "yields":
            yield prove(KIND, "it yields")
        elif told == "nothing":
            yield refute(KIND, "it neither yields nor returns a value")
    elif says and told == "nothing":
        if facts.is_async and _PROMISED.search(text):
            yield leave(KIND, "it is async, so there is something to wait for")
        elif _may_return_anyway(text, ground):
            yield leave(KIND, "what its decorators return isn't known")
        else:
            yield refute(KIND, "it returns nothing")
    elif says and told in ("value", "both"):
        yield leave(KIND, "that it returns a value is proven, what it means is not")


def check_async(text: str, ground: Ground) -> Iterator[Finding]:
    """Judge what a text says of waiting."""
    if not ground.is_function:
        return
    if _ASYNC.search(text):
        if ground.facts.is_async:
            yield prove(ASYNC, "it is async")
        elif not _WAITS.search(ground.code) and not ground.facts.decorators:
            yield refute(ASYNC, "it isn't async, and has no word of waiting")
    elif _SYNC.search(text) and ground.facts.is_async:
        yield refute(ASYNC, "it is async")


def check_effects(text: str, ground: Ground, *, is_effect: bool = False) -> Iterator[Finding]:
    """Judge what a text says of what is changed outside; an `is_effect` says that something is."""
    facts = ground.facts
    if _PURE.search(text):
        if facts.writes:
            yield refute(EFFECTS, f"it writes {facts.writes[0]}")
        elif touched := [touch for touch in facts.touches if touch.resource != "environment"]:
            yield refute(EFFECTS, f"it touches {touched[0].resource}: {touched[0].name}")
        return
    if is_effect:
        for touch in facts.touches:
            if re.search(_RESOURCES.get(touch.resource, r"(?!)"), text, re.IGNORECASE):
                yield prove(EFFECTS, f"{touch.name} in line {touch.line + 1} of it")
                return
        nothing = not (facts.writes or facts.touches or facts.raises) and ground.is_closed
        if nothing and not (_NOTHING_FIRST.match(text) or is_left_to_others(ground)):
            yield refute(EFFECTS, "it writes nothing, and calls nothing that could")


def is_left_to_others(ground: Ground) -> bool:
    """Tell whether a definition leaves its work to others: it does nothing, or just raises."""
    facts = ground.facts
    if any(entry.guard is None and entry.how == "raises" for entry in facts.raises):
        return not facts.returns.valued
    return facts.returns.what == "nothing" and not (
        facts.calls or facts.writes or facts.raises or facts.touches or facts.returns.yields
    )


def _may_be_nothing(ground: Ground) -> bool:
    """Tell whether what is returned is that of a call, without a word of returning."""
    return (
        ground.facts.returns.what == "value"
        and ground.facts.result is None
        and not re.search(r"\breturn\b", ground.code)
    )


def _may_return_anyway(text: str, ground: Ground) -> bool:
    if ground.language != "java" and not all(map(_TRANSPARENT.search, ground.facts.decorators)):
        return True
    constructs = ground.name in ("__init__", "constructor", "__new__")
    return constructs and bool(
        re.search(r"\b(?:instance|object|new|initiali[sz]ed?)\b", text, re.IGNORECASE)
    )
