"""Everything but calls: what is installed, what is loaded, and what other modules answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from llmc.testing._http import Request
from llmc.testing._responses import Response
from llmc.testing._runners import Demand, Runners
from llmc.testing.ollama import _library as library
from llmc.testing.ollama._answers import RefusedError, found, json_response
from llmc.testing.ollama._embeddings import Embeddings
from llmc.testing.ollama._models import KV_BYTES_PER_TOKEN, Catalogue, Model, parse_name
from llmc.testing.ollama._requests import read
from llmc.testing.ollama._v1 import error_body, model_entry
from llmc.testing.ollama._words import moment

VERSION = "0.12.3"


@dataclass(frozen=True, slots=True)
class Machine:
    """What a fake Ollama runs on; `vram` (bytes) is what its GPUs hold, None for enough."""

    slots: int | None
    context_length: int
    vram: int | None


class LookUps:
    """Answers the requests that no script has a say in."""

    def __init__(self, catalogue: Catalogue, runners: Runners, machine: Machine) -> None:
        self._catalogue = catalogue
        self._runners = runners
        self._machine = machine
        embeddings = Embeddings(catalogue, runners, machine.context_length)
        self._paths: dict[str, dict[str, Callable[[Request], Response]]] = {
            "/": {"GET": self._root, "HEAD": self._root},
            "/api/version": {"GET": self._version, "HEAD": self._version},
            "/api/tags": {"GET": self._tags, "HEAD": self._tags},
            "/api/ps": {"GET": self._ps},
            "/api/show": {"POST": self._show},
            "/api/copy": {"POST": partial(library.copy, catalogue)},
            "/api/delete": {"DELETE": partial(library.delete, catalogue)},
            "/api/pull": {"POST": partial(library.pull, catalogue)},
            "/api/embed": {"POST": embeddings.embed},
            "/api/embeddings": {"POST": embeddings.embeddings},
            "/v1/models": {"GET": self._v1_models},
        }

    def answer(self, request: Request) -> Response:
        """Answer a request."""
        name = request.path.removeprefix("/v1/models/")
        if name and name != request.path and request.method == "GET":
            return self._v1_model(name)
        methods = self._paths.get(request.path)
        if methods is None:
            return Response(404, b"404 page not found", "text/plain")
        if request.method not in methods:
            return Response(405, b"405 method not allowed", "text/plain")
        try:
            return methods[request.method](request)
        except RefusedError as error:
            return json_response({"error": error.message}, error.status)

    def _root(self, request: Request) -> Response:
        return Response(200, b"Ollama is running", "text/plain; charset=utf-8")

    def _version(self, request: Request) -> Response:
        return json_response({"version": VERSION})

    def _tags(self, request: Request) -> Response:
        models = [
            {
                **_name(model),
                "modified_at": moment(model.modified_at),
                "size": model.size,
                "digest": model.digest,
                "details": model.details,
            }
            for model in self._catalogue.listed()
        ]
        return json_response({"models": models})

    def _ps(self, request: Request) -> Response:
        running: list[dict[str, Any]] = []
        for demand, seconds in self._runners.loaded():
            model = self._catalogue.find(demand.name) or Model(demand.name)
            size, vram = self._memory(model, demand)
            running.append(
                {
                    **_name(model),
                    "size": size,
                    "digest": model.digest,
                    "details": model.details,
                    "expires_at": moment(datetime.now(UTC) + timedelta(seconds=seconds)),
                    "size_vram": vram,
                    "context_length": demand.options.num_ctx,
                }
            )
        return json_response({"models": running})

    def _memory(self, model: Model, demand: Demand) -> tuple[int, int]:
        """Return the bytes a runner takes, and those of them on a GPU."""
        context = min(demand.options.num_ctx, model.context_length)
        size = model.size + context * (self._machine.slots or 1) * KV_BYTES_PER_TOKEN
        if demand.options.num_gpu == 0:
            return size, 0
        return size, size if self._machine.vram is None else min(size, self._machine.vram)

    def _show(self, request: Request) -> Response:
        asked = read(request.body, "ShowRequest")
        wanted = asked.get("model") or asked.get("name")
        if not wanted:
            raise RefusedError(400, "model is required")
        if parse_name(wanted) is None:
            raise RefusedError(500, "invalid model path")
        model = found(self._catalogue, wanted)
        parameters = "\n".join(f"{key:<30} {value}" for key, value in model.options.items())
        return json_response(
            {
                "modelfile": f'# Modelfile generated by "ollama show"\nFROM {model.file}\n',
                **({"parameters": parameters} if parameters else {}),
                "template": model.template,
                "details": model.details,
                "model_info": model.info,
                "capabilities": list(model.capabilities),
                "modified_at": moment(model.modified_at),
            }
        )

    def _v1_models(self, request: Request) -> Response:
        models = [model_entry(model) for model in self._catalogue.listed()]
        return json_response({"object": "list", "data": models or None})

    def _v1_model(self, name: str) -> Response:
        model = self._catalogue.find(name)
        if model is None:
            return Response(404, error_body(404, f"model '{name}' not found"))
        return json_response({**model_entry(model), "id": name})


def _name(model: Model) -> dict[str, str]:
    shown = model.full_name.shown
    return {"name": shown, "model": shown}
