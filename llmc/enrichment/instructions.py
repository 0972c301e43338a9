"""Instructions in prose: sentences that tell a reader, or an agent, what to do next.

"Return the sum of two numbers." is an imperative too, and so is half of all documentation. What
tells an instruction apart is its object: a program with its arguments, a script, an address to
fetch from, the reader's own secrets and safeguards, or the reader itself. The patterns look for
those, and miss what is said in other words; they read folded text (see `folded`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

_MARKUP = re.compile(r"[\s`*\"'<>\u2018\u2019\u201c\u201d]+")
_ESCAPED_BREAK = re.compile(r"\\[nrt]")
_UNHEARD = frozenset({"Cf", "Mn", "Me", "Cs"})
"""Unicode's categories of what has no sound: joiners, marks of direction, accents."""

_PROGRAM = (
    "(?:sudo|(?:ba|z|da|pw)?sh|powershell|cmd|curl|wget|python3?|perl|ruby|node|deno|bun|npx|pipx?|"
    "uvx?|npm|yarn|pnpm|gem|cargo|go|git|docker|podman|make|chmod|rm|cat|source|eval|exec|"
    "apt(?:-get)?|brew|nc|ssh|scp)"
)
_ARGUMENT = (
    r"(?:-{1,2}[a-z]\S*|\S*[/\\~$]\w\S*|[\w-]+\.[a-z]{2,4}\b|(?:install|clone|exec|add|run|push)\b)"
)
_SCRIPT = (
    r"(?:[.~]{0,2}/[\w./-]*\w|(?:bin|scripts?|tools?|ci|dev|hack|\.\w+)/[\w./-]*\w|"
    r"(?:[\w.-]+/)*[\w-]+\.(?:(?:ba|z)?sh|ps1|bat|cmd|exe)\b|(?:[\w.-]+/)+[\w-]+\.\w{1,4}\b)"
)
_ADDRESS = r"(?:https?://|ftp://|www\.)\S+"
_MODELS = "(?:agents|assistants|llms|ais|(?:language|ai) models?|chatbots|claude|copilot|chatgpt)"
_READER = (
    f"(?:(?:(?:ai|coding|code|autonomous|automated) ){{1,2}}(?:agent|assistant)s?|{_MODELS}|"
    "agent|assistant|ai|llm|codex|gemini|gpt)"
)
_SAFEGUARD = (
    "(?:tests|test suites?|checks|linters?|hooks|sandbox|guardrails|safeguards|restrictions|"
    "code reviews?|approvals?|confirmations?)"
)
_SECRET = r"(?:keys?|tokens?|secrets?|passwords?|credentials?|\.env|prompt|instructions)"
_TOLD = "(?:instructions?|prompts?|rules|guidelines|directives)"
_ORDER = (
    "(?:please|always|never|do|don t|you|must|run|execute|install|download|delete|remove|ignore|"
    "disable|skip|use|open|call|send|follow|answer|reply|respond|say|tell|treat|trust|approve|"
    "commit|push|write|replace|print|output|include|stop|before|when|fetch|read|forget)"
)

_AFTER = (
    r"(?:^|[.!?:;,()\u2013\u2014-] ?|\b(?:please|first|then|and|or|but|now|always|just|also|must|"
    "should|you|agents?|assistants?|immediately|(?:have|need) to) )"
)
"""What an order comes after: the beginning of a clause, or a word that gives one."""

_FORMS = (
    # run sh tools/setup.sh; use git push --force
    (
        rf"{_AFTER}((?:run|execute|invoke|call|type|paste|enter|launch|start|use) (?:the )?"
        rf"(?:(?:command|following) ?:? )?{_PROGRAM} (?:[a-z]+ )?{_ARGUMENT})"
    ),
    # execute the script tools/setup.sh; run make x
    (
        rf"{_AFTER}((?:run|execute|launch|source) (?:the )?"
        rf"(?:(?:script|file|following) ?:? )?{_SCRIPT})"
    ),
    rf"{_AFTER}((?:run|execute) make (?!and|to|in|with|for|or|a|the|on|if)[a-z][\w-]*)\b",
    # curl -s https://...; sudo ./x
    rf"{_AFTER}((?:sudo )?(?:sudo|(?:ba|z)?sh|curl|wget|rm|chmod|eval|iex|powershell) {_ARGUMENT})",
    # curl ... | sh
    r"\b((?:curl|wget) [^|]{1,200}\| ?(?:sudo )?\w{0,4}sh)\b",
    # download the tool from https://...
    (
        rf"{_AFTER}((?:download|fetch|visit|open|browse|install|go to|navigate to|click|follow)"
        rf"(?: \S+){{0,6}}? (?:{_ADDRESS}|{_PROGRAM} {_ARGUMENT}))"
    ),
    # you must download ...
    (
        r"\b(you (?:must|should|shall|need to|have to|are required to) "
        r"(?:(?:now|first|also|always) )?(?:download|install|upload|visit|disable|execute|email|"
        r"paste|ignore|disregard|reveal)(?: \S+){1,3})"
    ),
    # AGENTS: always ...; note to coding agents: ...; AI agents must ...; if you are an AI, ...
    rf"(?:^|[.!?;(] ?)({_READER} ?[:,!\u2013\u2014-] {_ORDER}(?: \S+){{1,4}})",
    (
        rf"(?:^|[.!?;(] ?)((?:\w+ to |to |for |dear |hey |attention |important )(?:the |any |all |"
        rf"every )?{_READER}(?: reading this| who read this)? ?[:,!\u2013\u2014-](?: \S+){{1,4}})"
    ),
    (
        r"\b((?:ai|coding) (?:agents|assistants) (?:must|should|shall|need to|have to)"
        r"(?: \S+){1,4})"
    ),
    rf"\b((?:if you are|if you re|as) an? {_READER}\b[,:]?(?: \S+){{1,4}})",
    # ignore all previous instructions; you are now ...; do not tell the user
    rf"\b((?:ignore|disregard|forget)(?: \w+){{0,4}}? {_TOLD})\b",
    r"\b(override(?: \w+){0,4}? (?:instructions?|prompts?))\b",
    r"\b(you are now (?:in|an?|the)(?: \S+){1,3})",
    (
        r"\b((?:don t|do not|never) (?:tell|inform|alert|warn|mention|ask) (?:\w+ to )?"
        r"(?:the|your) users?)\b"
    ),
    # disable the tests
    (
        rf"{_AFTER}((?:disable|skip|bypass|turn off|switch off|deactivate|delete|remove|don t run|"
        rf"do not run|never run) (?:the|all|any|your|these|every)(?: \w+){{0,2}}? {_SAFEGUARD})\b"
    ),
    # send your API key to ...
    (
        rf"{_AFTER}((?:send|post|upload|email|reveal|print|copy|paste|share|include|give)"
        rf"(?: \w+){{0,3}}? (?:your|the users?(?: s)?)(?: \w+)? {_SECRET})\b"
    ),
)
_BEGIN = re.compile(
    r"\b(?:run|execute|invoke|call|type|paste|enter|launch|start|use|source|sudo|(?:ba|z)?sh|curl|"
    r"wget|rm|chmod|eval|iex|powershell|download|fetch|visit|open|browse|install|go to|navigate to|"
    r"click|follow|you|agents?|assistants?|ais?|llms?|models?|chatbots?|claude|copilot|chatgpt|codex|"
    r"gemini|gpt|ignore|disregard|forget|override|don t|do not|never|disable|skip|bypass|turn off|"
    r"switch off|deactivate|delete|remove|send|post|upload|email|reveal|print|copy|share|include|"
    r"give)\b"
)
"""A word of each form that no instruction of it lacks: most texts have none, and are done with."""

_INSTRUCTIONS = tuple(re.compile(form, re.MULTILINE) for form in _FORMS)


def fold(text: str) -> str:
    """Return text as it is heard: without case, accents and markup, on one line."""
    text = _ESCAPED_BREAK.sub(" ", text)
    if not text.isascii():
        parts = unicodedata.normalize("NFKD", text)
        text = "".join(part for part in parts if unicodedata.category(part) not in _UNHEARD)
    return _MARKUP.sub(" ", text.casefold()).strip()


def find_instructions(text: str) -> Iterator[tuple[int, int]]:
    """Yield where the instructions of folded text begin and end; some may overlap.

    A line break in it is the end of a clause.
    """
    if not _BEGIN.search(text):
        return
    for form in _INSTRUCTIONS:
        yield from (found.span(1) for found in form.finditer(text))
