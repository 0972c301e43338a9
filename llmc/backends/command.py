"""A gateway program: the prompt on its standard input, the reply on its standard output."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from llmc.backends._base import BackendConfig, CallPolicy, accept_from_gateway
from llmc.config import GatewaySettings
from llmc.errors import BackendError, ConfigError
from llmc.models import Enrichment
from llmc.redaction import blot, secrets_in
from llmc.transport import Cancellation

POLL_SEC = 0.1


class CommandBackend:
    """One process per attempt, with the model of `config` as GEMINI_MODEL for that process only."""

    def __init__(
        self,
        config: BackendConfig,
        program: str,
        gateway: GatewaySettings,
        *,
        cwd: Path,
        policy: CallPolicy,
        cancellation: Cancellation,
    ) -> None:
        self._config = config
        self._program = _located(program, cwd)
        self._gateway = gateway
        self._cwd = cwd
        self._policy = policy
        self._cancellation = cancellation

    @property
    def config(self) -> BackendConfig:
        return self._config

    def describe_host(self) -> str | None:
        """Return nothing: a program has no host that we know of."""
        return None

    def prepare(self) -> None:
        """Find out now whether the program can be started. Raises ConfigError."""
        program = self._command()[0]
        found = shutil.which(program, path=self._gateway.environ.get("PATH"))
        if not found and not os.access(self._cwd / program, os.X_OK):
            raise ConfigError(f"gateway program {program!r} is not there, or not executable")
        if not (self._cwd / self._program).exists() and not shutil.which(self._program):
            raise ConfigError(f"gateway program {self._program!r} is not there")

    def generate(
        self, prompt: str, *, item: Mapping[str, Any]
    ) -> tuple[Enrichment, dict[str, Any]]:
        """Make one attempt: run the program once."""
        environ = dict(self._gateway.environ)
        if self._config.model:
            environ["GEMINI_MODEL"] = self._config.model
        text = self._run(prompt, environ)
        meta: dict[str, Any] = {
            "backend": "gateway",
            "model": model_label(environ),
            "options": None,
        }
        result = accept_from_gateway(text, item, meta, require_summary=self._policy.require_summary)
        return result, meta

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
                process.wait()
        if process.returncode:
            said = blot(errors.decode("utf-8", "replace"), secrets_in(environ))
            tail = said.strip()[-300:]
            raise self._runtime(f"exited with status {process.returncode}: {tail}")
        text = output.decode("utf-8", "replace").strip()
        if not text:
            raise self._runtime("printed nothing")
        return text

    def _command(self) -> list[str]:
        command = ["node", self._program] if self._program.endswith(".js") else [self._program]
        return [*command, "--api", *(["--debug"] if self._gateway.debug else [])]

    def _communicate(self, process: subprocess.Popen[bytes], prompt: bytes) -> tuple[bytes, bytes]:
        """Feed the program and wait for its end, the deadline or a cancel."""
        deadline = time.monotonic() + self._policy.timeout
        feed: bytes | None = prompt
        while True:
            left = deadline - time.monotonic()
            try:
                return process.communicate(feed, timeout=max(0.0, min(POLL_SEC, left)))
            except subprocess.TimeoutExpired as error:
                feed = None  # communicate remembers the rest
                if self._cancellation.is_set:
                    raise self._runtime("was cancelled") from error
                if left <= 0:
                    raise self._runtime(f"gave no answer in {self._policy.timeout:g} s") from error

    def _runtime(self, what: str) -> BackendError:
        return BackendError(f"gateway program {self._program} {what}", failure_type="runtime")


def model_label(environ: Mapping[str, str]) -> str:
    """Return the model that a gateway call with this environment is recorded under."""
    names = ("AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_KEY", "AZURE_OPENAI_DEPLOYMENT")
    if all(environ.get(name) for name in names):
        return environ["AZURE_OPENAI_DEPLOYMENT"]
    return environ.get("GEMINI_MODEL", "gemini")


def _located(program: str, cwd: Path) -> str:
    """Return the program as it can be started in `cwd`, where a relative path belongs.

    One that is only where the caller stands is taken from there; a bare name may be on the PATH.
    """
    if (cwd / program).is_file():
        return program if "/" in program or program.endswith(".js") else f"./{program}"
    return str(Path(program).absolute()) if Path(program).is_file() else program
