"""What a model is loaded with: one set of options for each model at each host, whatever the tier.

Ollama loads a model anew for every call that asks for other load options than the last one. The
presets of the batch driver's contract differ between the tiers (num_batch is halved for 14b), so a
model that serves both would be loaded at each change of tier, and its prefix cache lost.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from llmc.net.places import is_this_machine
from llmc.settings.config import Settings
from llmc.settings.documents import PRESET_FILE
from llmc.settings.presets import read_preset_words
from llmc.settings.target import Target

LOAD_OPTIONS = (
    *("num_ctx", "num_batch", "num_gpu", "main_gpu", "num_thread"),
    *("use_mmap", "use_mlock", "numa", "low_vram"),
)
"""What Ollama takes for a reason to load a model anew, also in its earlier versions."""

_Place = tuple[str, str]
"""A host's URL, and a model there."""


def agree_on_loading(
    settings: Settings, targets: Mapping[str, tuple[Target, ...]]
) -> dict[str, tuple[Target, ...]]:
    """Return the targets with the same load options for the same model at the same host.

    What a chain entry says beats the presets. Of several entries, or tiers, the first one's word
    counts; of num_ctx the largest, as every tier's spans have to fit.
    """
    merged: dict[_Place, dict[str, Any]] = defaultdict(dict)
    named: dict[_Place, dict[str, Any]] = defaultdict(dict)
    for tier, target in _that_load(targets):
        entries = settings.entries(tier) if settings.backend == "auto" else ()
        words = entries[target.entry].options if entries else {}
        _take(named[target.place, target.model], words)
        _take(merged[target.place, target.model], _without_our_cores(settings, target, words))
    return {
        tier: tuple(
            replace(target, options=_agreed(target, merged, named))
            if target.row.one_model
            else target
            for target in listed
        )
        for tier, listed in targets.items()
    }


def _that_load(targets: Mapping[str, tuple[Target, ...]]) -> Iterable[tuple[str, Target]]:
    return ((tier, t) for tier, listed in targets.items() for t in listed if t.row.one_model)


def _take(known: dict[str, Any], words: Mapping[str, Any]) -> None:
    """Take over the load options among these words, unless they are known by now."""
    for name in LOAD_OPTIONS:
        if name in words:
            known.setdefault(name, words[name])
            if name == "num_ctx" and _is_larger(words[name], known[name]):
                known[name] = words[name]


def _is_larger(one: object, other: object) -> bool:
    return isinstance(one, int | float) and isinstance(other, int | float) and one > other


def _without_our_cores(
    settings: Settings, target: Target, words: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Return a target's options; the number of this machine's cores says nothing about another."""
    said = read_preset_words(settings.sources.files.get(PRESET_FILE)).get("num_thread")
    is_said = isinstance(said, int) and not isinstance(said, bool)
    if "num_thread" in words or is_said or is_this_machine(target.place):
        return target.options
    return {name: value for name, value in target.options.items() if name != "num_thread"}


def _agreed(
    target: Target, merged: Mapping[_Place, Mapping[str, Any]], named: Mapping[_Place, Any]
) -> Mapping[str, Any]:
    place = target.place, target.model
    kept = {name: value for name, value in target.options.items() if name not in LOAD_OPTIONS}
    return {**merged[place], **named[place], **kept}
