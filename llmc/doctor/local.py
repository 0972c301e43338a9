"""What a run starts on this machine: a model in its own process, or a gateway program."""

from __future__ import annotations

import time
from importlib.util import find_spec
from pathlib import Path

from llmc.backends.llamacpp import check_gguf, find_packaged_model
from llmc.doctor.findings import Examined, Finding, Note, tell_seconds
from llmc.doctor.targets import Asked
from llmc.doctor.trial import leave_untried, try_model
from llmc.errors import ConfigError


def examine_model(asked: Asked, *, trial: bool) -> Examined:
    """Look at a model in this process: library, file, loading, and a trial reply."""
    section = "embedded model" + (
        f" {asked.target.name}" if asked.target.name != "embedded" else ""
    )
    found: list[Finding] = []
    try:
        if find_spec("xllamacpp") is not None:
            found.append(Finding(section, "library", "ok", "llama.cpp (xllamacpp) is installed"))
        if asked.target.problem:
            raise ConfigError(asked.target.problem)
        path = Path(asked.target.place) if asked.target.place else find_packaged_model()
        check_gguf(path)
        size = path.stat().st_size / 2**20
        found.append(Finding(section, "file", "ok", f"{path} (GGUF, {size:,.0f} MiB)"))
        started = time.monotonic()
        asked.builder.prepare()
        took = tell_seconds(time.monotonic() - started)
        found.append(Finding(section, "loads", "ok", f"in {took}"))
    except ConfigError as error:
        return _stopped(found, Finding(section, "model", "fail", str(error)))
    usable = True
    if trial:
        finding, usable = try_model(asked, section)
        found.append(finding)
    return _examined(found, asked, usable)


def examine_program(asked: Asked, *, trial: bool) -> Examined:
    """Look at a gateway program: can it be started, and if wanted, does it reply."""
    name = asked.target.name
    section = "gateway" if name == "gateway" else f"gateway {name}"
    try:
        asked.builder.prepare()
    except ConfigError as error:
        return _stopped([], Finding(section, "program", "fail", str(error)))
    model = f", model {asked.target.shown}" if asked.target.shown else ""
    there = Finding(section, "program", "ok", f"{asked.target.place}{model}")
    finding, usable = try_model(asked, section) if trial else (leave_untried(section), True)
    return _examined([there, finding], asked, usable)


def examine_backend(asked: Asked, *, trial: bool) -> Examined:
    """Look at a provider that is not one of llmc's own, by what every backend can do."""
    target = asked.target
    section = f"{target.provider} {target.name}"
    try:
        asked.builder.prepare()
    except ConfigError as error:
        return _stopped([], Finding(section, "settings", "fail", str(error)))
    place = f" at {target.address}" if target.address else ""
    there = Finding(section, "settings", "ok", f"{target.shown or 'its own model'}{place}")
    finding, usable = try_model(asked, section) if trial else (leave_untried(section), True)
    return _examined([there, finding], asked, usable)


def _stopped(found: list[Finding], failure: Finding) -> Examined:
    """Return what stops a run before its first attempt, whatever else there is."""
    return Examined(tuple(map(Note, [*found, failure])))


def _examined(found: list[Finding], asked: Asked, usable: bool) -> Examined:
    notes = tuple(Note(finding, asked.tiers) for finding in found)
    return Examined(notes, frozenset(asked.tiers if usable else ()))
