"""Which of the models that a run would ask its Ollama hosts for are not there; asked once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from shlex import quote

from llmc.errors import RequestError
from llmc.net.client import Client
from llmc.net.places import is_cloud_model
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
    unlisted = [model for model in models if _normalise(model) not in there]
    return [model for model in unlisted if _is_unknown(client, lane, model, timeout)]


def _is_unknown(client: Client, lane: Lane, model: str, timeout: float) -> bool:
    url = f"{(lane.probe or '').removesuffix('/api/tags')}/api/show"
    body = json.dumps({"model": model}).encode()
    kind = {"Content-Type": "application/json"}
    try:
        with client.request("POST", url, body=body, headers=kind, timeout=timeout) as exchange:
            return exchange.status == 404
    except RequestError:
        return False


def _list_models(client: Client, lane: Lane, timeout: float) -> set[str] | None:
    try:
        with client.request("GET", lane.probe or "", timeout=timeout) as exchange:
            if exchange.status != 200:
                return None
            models = json.loads(exchange.read())["models"]
        return {_normalise(model.get("model") or model["name"]) for model in models}
    except (RequestError, ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return None  # whatever it is that answers, it does not list models


def _normalise(model: str) -> str:
    """Return a model's name as Ollama compares it: its registry and its tag may be left out."""
    name = model.strip().lower().removeprefix("registry.ollama.ai/").removeprefix("library/")
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"
