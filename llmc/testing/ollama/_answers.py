"""What the answers of all paths share."""

from __future__ import annotations

from typing import Any

from llmc.testing._responses import Response
from llmc.testing.ollama._json import encode
from llmc.testing.ollama._models import Catalogue, Model


class RefusedError(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def json_response(value: Any, status: int = 200) -> Response:
    """Return a value as JSON in Ollama's hand."""
    return Response(status, encode(value))


def found(catalogue: Catalogue, name: str) -> Model:
    """Return the model of that name, in any case; refuse one that is not there."""
    model = catalogue.find(name)
    if model is None:
        raise RefusedError(404, f"model '{name}' not found")
    return model
