"""Which of the models that a run would ask its Ollama hosts for are not there; asked once."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from shlex import quote

from llmc.net.client import Client
from llmc.net.lookup import look_up
from llmc.net.places import is_cloud_model, spell_model
from llmc.run.lanes import Lane, Lanes, Step


def find_missing(client: Client, lanes: Lanes, timeout: float) -> Iterator[tuple[Step, str]]:
    """Yield the steps whose host lacks their model, with what to do about it.

    A host that does not say what it has, in so many seconds, is taken to have everything.
    """
    wanted: dict[int, dict[str, Step]] = {}
    for choices in lanes.choices.values():
        for step in (step for choice in choices for step in choice.steps):
            lane = lanes.lanes[step.lane]
            if lane.one_model and not lane.down and step.model and not is_cloud_model(step.model):
                wanted.setdefault(step.lane, {})[step.model] = step
    with ThreadPoolExecutor(max(1, len(wanted))) as pool:
        found = pool.map(
            lambda lane: _find_absent(client, lanes.lanes[lane], wanted[lane], timeout), wanted
        )
        absent = list(zip(wanted, found, strict=True))
    for number, models in absent:
        name = lanes.lanes[number].name
        for model in models:
            remedy = f"run there: ollama pull {quote(model)}"
            yield wanted[number][model], f"{name} has no model {model!r}; {remedy}"


def _find_absent(client: Client, lane: Lane, models: Iterable[str], timeout: float) -> list[str]:
    """Return the models that a host neither lists nor knows when it is asked about each."""
    there = _list_models(client, lane, timeout)
    if there is None:
        return []
    unlisted = [model for model in models if spell_model(model) not in there]
    return [model for model in unlisted if _is_unknown(client, lane, model, timeout)]


def _is_unknown(client: Client, lane: Lane, model: str, timeout: float) -> bool:
    url = f"{(lane.probe or '').removesuffix('/api/tags')}/api/show"
    deadline = time.monotonic() + timeout
    return look_up(client, url, deadline, body={"model": model}).status == 404


def _list_models(client: Client, lane: Lane, timeout: float) -> set[str] | None:
    """Return the models of a host; None if whatever it is that answers lists none."""
    answer = look_up(client, lane.probe or "", time.monotonic() + timeout)
    if answer.status != 200 or not answer.has_list("models"):
        return None
    named = (entry.get("model") or entry.get("name") for entry in answer.list_entries("models"))
    return {spell_model(name) for name in named if isinstance(name, str)}
