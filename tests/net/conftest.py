from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from llmc.net.client import Client
from tests.peers import Serve, Server, Talk


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as stack:

        def start(talk: Talk, family: socket.AddressFamily = socket.AF_INET) -> Server:
            server = Server(talk, family)
            stack.callback(server.stop)
            return server

        yield start


@pytest.fixture
def client() -> Iterator[Client]:
    client = Client()
    yield client
    client.close()
