"""An Ollama host: is it there, does it have the models, what is loaded, does it reply."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from llmc.doctor.findings import Examined, Finding, Note, State, tell_seconds
from llmc.doctor.lookup import Answer, ask
from llmc.doctor.targets import Asked
from llmc.doctor.trial import try_model
from llmc.net.client import Client
from llmc.net.places import is_this_machine

FIRST_WITH_SCHEMA = (0, 5, 0)
"""The first version that takes a JSON schema in `format`."""

_GIB = 2**30


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What a host says of itself; `problem` says why nothing else is known.

    `loaded` maps a model to its bytes in GPU memory and in all, None where it isn't told;
    `contexts` maps the models asked about to their context length in tokens.
    """

    seconds: float
    problem: str = ""
    version: str = ""
    models: tuple[str, ...] = ()
    loaded: Mapping[str, tuple[int | None, int | None]] = field(default_factory=dict)
    contexts: Mapping[str, int] = field(default_factory=dict)


def look_up(url: str, wanted: Sequence[str], seconds: float) -> HostFacts:
    """Ask a host for its facts; all questions together take at most `seconds`."""
    client, started = Client(), time.monotonic()
    deadline = started + seconds
    try:
        tags = ask(client, f"{url}/api/tags", deadline)
        took = time.monotonic() - started
        if problem := _problem(tags):
            return HostFacts(took, problem)
        models = tuple(_names(tags))
        version = ask(client, f"{url}/api/version", deadline).value
        running = ask(client, f"{url}/api/ps", deadline)
        contexts = {}
        for model in dict.fromkeys(wanted):
            if is_there(model, models):
                shown = ask(client, f"{url}/api/show", deadline, body={"model": model})
                if length := _context_length(shown):
                    contexts[model] = length
    finally:
        client.close()
    told = version.get("version") if isinstance(version, dict) else None
    loaded = {
        name: (_size(entry.get("size_vram")), _size(entry.get("size")))
        for name, entry in zip(_names(running), running.entries("models"), strict=True)
    }
    return HostFacts(took, "", str(told or ""), models, loaded, contexts)


def is_there(model: str, models: Sequence[str]) -> bool:
    """Tell whether a model is among those of a host; a name without a tag means :latest."""
    return _full(model) in {_full(name) for name in models}


def examine_host(asked: Sequence[Asked], *, seconds: float, trial: bool) -> Examined:
    """Look at one host, for the models that a run would ask it for."""
    first, models = asked[0].target, [one.target.model for one in asked]
    section = f"Ollama {first.label} ({first.address})"
    facts = look_up(first.place, models, seconds)
    tiers = tuple(dict.fromkeys(tier for one in asked for tier in one.tiers))
    if facts.problem:
        detail = f"{facts.problem} (after {tell_seconds(facts.seconds)})"
        finding = Finding(section, "reachable", "fail", detail, _advice(first.place, facts))
        return Examined((Note(finding, tiers),))
    reached = Finding(section, "reachable", "ok", f"in {tell_seconds(facts.seconds)}")
    version, takes_schema = _version(section, facts.version)
    notes = [Note(reached), Note(version, tiers)]
    if loaded := _others_loaded(section, facts, models):
        notes.append(Note(loaded))
    serves: set[str] = set()
    for one in asked:
        found, usable = _model(section, one, facts)
        if usable and takes_schema and trial:
            loads = _loaded(one.target.model, facts) is None
            finding, usable = try_model(one, section, loads=loads)
            found.append(finding)
        if usable and takes_schema:
            serves.update(one.tiers)
        notes += [Note(finding, one.tiers) for finding in found]
    return Examined(tuple(notes), frozenset(serves))


def _problem(tags: Answer) -> str:
    if not tags.status:
        return tags.problem
    if not tags.ok:
        return f"answers HTTP {tags.status} when asked for its models"
    return "" if tags.has_list("models") else "what answers there is not Ollama: no list of models"


def _advice(url: str, facts: HostFacts) -> str:
    if "HTTP" in facts.problem or "not Ollama" in facts.problem:
        return "is this Ollama's address? if it is, its own log says what is wrong"
    if is_this_machine(url):
        return "ollama serve"
    return "is the machine on, and does Ollama listen to others there (OLLAMA_HOST=0.0.0.0)?"


def _version(section: str, text: str) -> tuple[Finding, bool]:
    numbers = re.match(r"v?(\d+)\.(\d+)\.(\d+)", text)
    known = tuple(map(int, numbers.groups())) if numbers else (0, 0, 0)
    if known == (0, 0, 0):  # a build of somebody's own says 0.0.0
        said = f"says {text!r}" if text else "does not say"
        return Finding(section, "version", "info", f"{said}; schema support unknown"), True
    if known < FIRST_WITH_SCHEMA:
        detail = f"{text} takes no JSON schema in `format`; that came with 0.5.0"
        return Finding(section, "version", "fail", detail, "update Ollama on that machine"), False
    return Finding(section, "version", "ok", f"{text}, takes a JSON schema"), True


def _model(section: str, asked: Asked, facts: HostFacts) -> tuple[list[Finding], bool]:
    tiers, model = ", ".join(asked.tiers), asked.target.model
    if asked.problem:
        detail = f"{tiers}: {asked.problem}"
        advice = "name one in presets/enrich_7b_ollama.yaml or OLLAMA_MODEL"
        return [Finding(section, "model", "fail", detail, advice)], False
    if not is_there(model, facts.models):
        there = ", ".join(facts.models[:6]) or "none at all"
        detail = f"{model} ({tiers}) is missing; models there: {there}"
        return [Finding(section, "model", "fail", detail, f"ollama pull {model}")], False
    memory = _memory(model, facts)
    found = [Finding(section, "model", "ok", f"{model} ({tiers}): there, {memory}")]
    return [*found, _context(section, asked.num_ctx, facts.contexts.get(model))], True


def _context(section: str, asked: int | None, length: int | None) -> Finding:
    state: State = "ok"
    advice = ""
    if length is None:
        detail, state = "the host does not tell the model's context length", "info"
    elif asked is None:
        detail, state = f"{length:,} tokens, no num_ctx set: the host's default", "info"
    elif asked > length:
        detail, state = f"num_ctx {asked:,} is above the model's {length:,} tokens", "warn"
        advice = f"set num_ctx to {length} or less, in the preset file or the chain entry's options"
    else:
        detail = f"num_ctx {asked:,} of the model's {length:,} tokens"
    return Finding(section, "context", state, detail, advice)


def _memory(model: str, facts: HostFacts) -> str:
    sizes = _loaded(model, facts)
    if sizes is None:
        return "not loaded"
    on_gpu, in_all = sizes
    if on_gpu is None:
        return "loaded"
    text = f"loaded, {on_gpu / _GIB:.1f} GiB in GPU memory"
    if in_all and in_all > on_gpu:
        text += f" of {in_all / _GIB:.1f}: the rest runs on the processor"
    return text


def _loaded(model: str, facts: HostFacts) -> tuple[int | None, int | None] | None:
    """Return the bytes of a loaded model, None if it isn't."""
    found = (sizes for name, sizes in facts.loaded.items() if _full(name) == _full(model))
    return next(found, None)


def _others_loaded(section: str, facts: HostFacts, models: Sequence[str]) -> Finding | None:
    needed = set(map(_full, models))
    others = [name for name in facts.loaded if _full(name) not in needed]
    if not others:
        return None
    return Finding(section, "also loaded", "info", ", ".join(others))


def _context_length(shown: Answer) -> int | None:
    info = shown.value.get("model_info") if isinstance(shown.value, dict) else None
    for key, value in info.items() if isinstance(info, dict) else ():
        if key.endswith(".context_length") and isinstance(value, int):
            return value
    return None


def _names(answer: Answer) -> list[str]:
    return [str(entry.get("name") or entry.get("model")) for entry in answer.entries("models")]


def _full(model: str) -> str:
    name = model.lower()
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def _size(value: object) -> int | None:
    return value if isinstance(value, int) else None
