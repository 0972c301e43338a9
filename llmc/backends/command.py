"""A gateway program: the prompt on its standard input, the reply on its standard output."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from llmc.backends._base import BackendConfig, CallPolicy, Surroundings, accept_from_gateway
from llmc.errors import BackendError, ConfigError
from llmc.models import Enrichment
from llmc.net.deadlines import Cancellation
from llmc.net.exchange import MAX_BODY_BYTES
from llmc.programs.launching import SearchPath
from llmc.records.egress import Destination
from llmc.redaction.keys import blot_keys, find_secrets
from llmc.settings.gateways import GatewaySettings
from llmc.settings.targets import Target

POLL_SEC = 0.1
KILL_PATIENCE_SEC = 5.0
"""How long a killed program may take to be gone: one that hangs in the system is left behind."""

CHUNK_BYTES = 65536


class CommandBackend:
    """One process per attempt, with the model of `config` as GEMINI_MODEL for that process only.

    `search` is where a bare name, and `node` for a .js file, are looked for.
    """

    def __init__(  # noqa: PLR0913 - what a call is made of
        self,
        config: BackendConfig,
        program: str,
        gateway: GatewaySettings,
        *,
        cwd: Path,
        search: SearchPath,
        policy: CallPolicy,
        cancellation: Cancellation,
    ) -> None:
        self._config = config
        self._program = _located(program, search)
        self._node = search.find("node")
        self._gateway = gateway.for_model(config.model)
        self._cwd = cwd
        self._policy = policy
        self._cancellation = cancellation

    @property
    def config(self) -> BackendConfig:
        return self._config

    @property
    def destination(self) -> Destination:
        return Destination("command", self._program, self._config.model or self._gateway.label)

    def describe_host(self) -> str | None:
        """Return nothing: a program has no host that we know of."""
        return None

    def prepare(self) -> None:
        """Find out now whether the program can be started. Raises ConfigError."""
        try:
            program = self._command()[0]
        except BackendError as error:
            raise ConfigError(str(error)) from None
        if not os.access(self._cwd / program, os.X_OK):
            raise ConfigError(f"gateway program {program!r} is not there, or not executable")
        if not (self._cwd / self._program).exists():
            raise ConfigError(f"gateway program {self._program!r} is not there")

    def generate(
        self, prompt: str, *, item: Mapping[str, Any]
    ) -> tuple[Enrichment, dict[str, Any]]:
        """Make one attempt."""
        text, meta = self.ask(prompt)
        accepted = accept_from_gateway(
            text,
            prompt,
            item,
            meta,
            require_summary=self._policy.require_summary,
            hide=lambda said: blot_keys(said, find_secrets(self._gateway.environ)),
        )
        return accepted, meta

    def ask(self, prompt: str) -> tuple[str, dict[str, Any]]:
        """Run the program once; return its reply as it came. Raises BackendError if none did."""
        text = self._run(prompt, self._gateway.environ)
        meta = {"backend": "gateway", "model": self._gateway.label, "options": None}
        return text, meta

    def _run(self, prompt: str, environ: Mapping[str, str]) -> str:
        try:
            process = subprocess.Popen(
                self._command(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=self._cwd,
                env=environ,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise self._runtime(f"cannot be started: {error}") from error
        try:
            output, errors = self._communicate(process, prompt.encode("utf-8", "replace"))
        finally:
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(KILL_PATIENCE_SEC)
        if process.returncode:
            said = blot_keys(errors.decode("utf-8", "replace"), find_secrets(environ))
            tail = said.strip()[-300:]
            raise self._runtime(f"exited with status {process.returncode}: {tail}")
        text = output.decode("utf-8", "replace").strip()
        if not text:
            raise self._runtime("printed nothing")
        return text

    def _command(self) -> list[str]:
        command = [self._program]
        if self._program.endswith(".js"):
            if self._node is None:
                raise self._runtime(
                    "cannot be started: there is no `node` on the PATH, where relative folders and "
                    "those of the repository don't count"
                )
            command = [self._node, self._program]
        return [*command, "--api", *(["--debug"] if self._gateway.debug else [])]

    def _communicate(self, process: subprocess.Popen[bytes], prompt: bytes) -> tuple[bytes, bytes]:
        """Feed the program and wait for its end, the deadline, a cancel or too much output."""
        deadline = time.monotonic() + self._policy.timeout
        with _Pipes(process, prompt) as pipes:
            while pipes.are_open or process.poll() is None:
                left = deadline - time.monotonic()
                pipes.move(max(0.0, min(POLL_SEC, left)))
                if self._cancellation.is_set:
                    raise self._runtime("was cancelled")
                if left <= 0:
                    raise self._runtime(f"gave no answer in {self._policy.timeout:g} s")
                if pipes.size > MAX_BODY_BYTES:
                    raise self._runtime(f"printed more than {MAX_BODY_BYTES >> 20} MiB")
            return pipes.output, pipes.errors

    def _runtime(self, what: str) -> BackendError:
        return BackendError(f"gateway program {self._program} {what}", failure_type="runtime")


class _Pipes:
    """The pipes of a program, fed and read side by side: none fills up and holds it up."""

    def __init__(self, process: subprocess.Popen[bytes], feed: bytes) -> None:
        assert process.stdin, "made with three pipes"
        assert process.stdout, "made with three pipes"
        assert process.stderr, "made with three pipes"
        self._process = process
        self._stdin: IO[bytes] = process.stdin
        self._feed = memoryview(feed)
        self._output, self._errors = bytearray(), bytearray()
        self._selector = selectors.DefaultSelector()
        os.set_blocking(self._stdin.fileno(), False)
        self._selector.register(self._stdin, selectors.EVENT_WRITE)
        self._selector.register(process.stdout, selectors.EVENT_READ, self._output)
        self._selector.register(process.stderr, selectors.EVENT_READ, self._errors)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._selector.close()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe:
                pipe.close()

    @property
    def are_open(self) -> bool:
        """Tell whether more output may come."""
        return any(key.data is not None for key in self._selector.get_map().values())

    @property
    def size(self) -> int:
        return len(self._output) + len(self._errors)

    @property
    def output(self) -> bytes:
        return bytes(self._output)

    @property
    def errors(self) -> bytes:
        return bytes(self._errors)

    def move(self, seconds: float) -> None:
        """Write and read what can be, and wait so long for something to do."""
        if not self.are_open:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)
        for key, _ in self._selector.select(seconds if self.are_open else 0):
            if key.data is None:
                self._write()
            elif data := os.read(key.fd, CHUNK_BYTES):
                key.data.extend(data)
            else:
                self._selector.unregister(key.fileobj)

    def _write(self) -> None:
        with suppress(BlockingIOError):
            try:
                self._feed = self._feed[os.write(self._stdin.fileno(), self._feed) :]
            except BrokenPipeError:  # it does not want the rest
                self._feed = self._feed[:0]
        if not self._feed:
            self._selector.unregister(self._stdin)
            self._stdin.close()


def _located(program: str, search: SearchPath) -> str:
    """Return the program as it can be started in the repository, where a relative path belongs.

    A bare name means the program of that name on the PATH if there is one, as in a shell; a .js
    file is none of those.
    """
    if "/" in program or program.endswith(".js"):
        return program
    return search.find(program) or f"./{program}"


def make(target: Target, around: Surroundings) -> CommandBackend:
    """Return the backend of a target."""
    return CommandBackend(
        BackendConfig(target.name, "command", model=target.model or None),
        target.place,
        replace(around.gateway, environ=target.environ),
        cwd=around.repo,
        search=around.search,
        policy=around.policy,
        cancellation=around.client.cancellation,
    )
