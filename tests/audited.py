"""Commands of llmc under an audit hook, which tells what they touched and stops what they may not.

Each job runs in a process of its own, forked off a warm one, in an environment that holds nothing
but what the job says. In there Python itself reports every socket, program and file; what a job may
not do is refused, so that a hole found is a hole told and no harm done. What C code does unseen
(SQLite, git) is told by `fingerprint`, taken before and after.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import multiprocessing
import os
import runpy
import shutil
import stat
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.driving import SCRIPT

SECONDS = 120
"""How long a job may take; only one that hangs does."""

PROGRAMS = ("git", "nvidia-smi")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
NAMES = {
    "os.mkdir": 1,
    "os.rmdir": 1,
    "os.remove": 1,
    "os.rename": 2,
    "os.link": 2,
    "os.symlink": 2,
}
"""Events whose first arguments, so many, are names that come or go; a link is not followed."""

CHANGES = ("os.truncate", "os.chmod", "os.chown", "os.utime", "os.setxattr")
"""Events whose first argument is a file that is changed, through a link as well."""

STARTS = ("os.exec", "os.posix_spawn", "os.spawn", "os.system", "os.fork", "os.forkpty")
LOADS = ("sqlite3.load_extension", "sqlite3.enable_load_extension", "ctypes.dlopen")


@dataclass(frozen=True)
class Job:
    """Commands to run one after the other in `folder`; `writable` are the folders they may change.

    A command is words for `llmc`, or for the batch driver if the first is "driver".
    """

    commands: Sequence[Sequence[str]]
    folder: Path
    environ: Mapping[str, str]
    writable: Sequence[Path]


@dataclass(frozen=True)
class Done:
    """What came of a job: exit statuses, all that was printed, and each thing it may not do."""

    statuses: list[int] = field(default_factory=list)
    printed: str = ""
    breaches: list[str] = field(default_factory=list)


class BreachError(PermissionError):
    """Something that an untrusted repository may not bring about."""


class Watch:
    """The audit hook; `breaches` says what was refused, and in the course of which command."""

    def __init__(self, writable: Sequence[Path]) -> None:
        self.breaches: list[str] = []
        self.command = ""
        self._writable = [os.path.realpath(path) for path in writable]
        path = os.pathsep.join(filter(os.path.isabs, os.environ["PATH"].split(os.pathsep)))
        found = (shutil.which(name, path=path) for name in PROGRAMS)
        self._programs = {*PROGRAMS, *filter(None, found)}

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        trouble = self._trouble(event, args)
        if trouble:
            self.breaches.append(f"llmc {self.command}: {event}: {trouble}")
            raise BreachError(trouble)

    def _trouble(self, event: str, args: tuple[Any, ...]) -> str | None:
        if event == "open":
            return self._of_open(*args)
        if event == "sqlite3.connect":
            return self._of_database(os.fsdecode(args[0]))
        if event in CHANGES:
            return self._of_change(args[0])
        if event in NAMES:
            troubles = (self._of_change(name, follow=False) for name in args[: NAMES[event]])
            return next(filter(None, troubles), None)
        if event == "subprocess.Popen":
            return self._of_program(args[0], args[1])
        if event in STARTS or event in LOADS:
            return repr(args)
        if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
            return self._of_address(args[1])
        if event in ("socket.getaddrinfo", "socket.gethostbyname"):
            return self._of_name(args[0])
        return None

    def _of_open(self, path: object, mode: str | None, flags: int) -> str | None:
        writes = set(mode or "") & set("wax+") or (flags & WRITING)
        if not writes or isinstance(path, int) or str(path) in (os.devnull, "/dev/tty"):
            return None
        return self._of_change(path, follow=not flags & os.O_NOFOLLOW)

    def _of_database(self, name: str) -> str | None:
        path, _, options = name.removeprefix("file:").partition("?")
        is_read = name.startswith("file:") and ("mode=ro" in options or "mode=memory" in options)
        return None if is_read or path in ("", ":memory:") else self._of_change(path)

    def _of_change(self, path: object, *, follow: bool = True) -> str | None:
        if isinstance(path, int):
            return None
        text = os.fsdecode(path)  # type: ignore[arg-type]
        folder, name = os.path.split(text)
        real = os.path.realpath(text) if follow else f"{os.path.realpath(folder)}/{name}"
        if any(real == free or real.startswith(f"{free}/") for free in self._writable):
            return None
        return f"{text!r}, which is {real!r}"

    def _of_program(self, program: object, words: Sequence[object]) -> str | None:
        first = os.fsdecode(words[0]) if words else ""  # type: ignore[arg-type]
        asked = first in self._programs and "--api" not in words
        return None if asked else f"{program!r} {words!r}"

    @staticmethod
    def _of_name(host: object) -> str | None:
        name = host.decode() if isinstance(host, bytes) else host
        if name is None or name == "localhost" or _is_loopback(str(name)):
            return None
        return repr(name)

    @staticmethod
    def _of_address(address: object) -> str | None:
        is_here = isinstance(address, tuple) and (
            address[0] == "localhost" or _is_loopback(str(address[0]))
        )
        return None if is_here else repr(address)


def _is_loopback(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    inner = getattr(address, "ipv4_mapped", None)
    return bool((inner or address).is_loopback)


def run(job: Job) -> Done:
    """Run a job under the hook, in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        output, report = Path(name, "output"), Path(name, "report")
        output.touch()
        process = _WARM.Process(target=_child, args=(job, output, report))
        process.start()
        process.join(SECONDS)
        if process.exitcode is None:
            process.kill()
            process.join()
        printed = output.read_text(encoding="utf-8", errors="replace")
        if not report.exists():
            return Done([], printed, [f"a command ended or hung (status {process.exitcode})"])
        return Done(printed=printed, **json.loads(report.read_text()))


_WARM = multiprocessing.get_context("forkserver")
_WARM.set_forkserver_preload(
    [
        "tests.audited",
        "llmc.cli",
        "llmc.engine",
        "llmc.doctor.examination",
        "llmc.backends.openai",
        "yaml",
    ]
)


def _child(job: Job, output: Path, report: Path) -> None:
    for path, flags, descriptor in (
        (os.devnull, os.O_RDONLY, 0),
        (output, os.O_WRONLY | os.O_APPEND, 1),
        (output, os.O_WRONLY | os.O_APPEND, 2),
    ):
        os.dup2(os.open(path, flags), descriptor)
    os.environ.clear()
    os.environ.update(job.environ)
    tempfile.tempdir = None
    sys.dont_write_bytecode = True
    os.chdir(job.folder)
    watch, statuses = Watch([*job.writable, output, report]), []
    sys.addaudithook(watch)
    for words in job.commands:
        watch.command = " ".join(words)
        print(f"$ llmc {watch.command}", flush=True)
        statuses.append(_status(words))
        sys.stdout.flush()
        sys.stderr.flush()
    report.write_text(json.dumps({"statuses": statuses, "breaches": watch.breaches}))


def _status(words: Sequence[str]) -> int:
    from llmc import cli

    try:
        if words[0] == "driver":
            sys.argv = [str(SCRIPT), *words[1:]]
            runpy.run_path(str(SCRIPT), run_name="__main__")
            return 0
        return cli.main(words)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1
    except BreachError:
        return -2
    except Exception:  # noqa: BLE001 - whatever it is, the test tells it
        traceback.print_exc()
        return -1


def fingerprint(folder: Path, leave_out: Sequence[Path] = ()) -> dict[str, str]:
    """Return what each file below a folder is, for a comparison; links are not followed."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if any(path.is_relative_to(left) for left in leave_out):
            continue
        state = path.lstat()
        if stat.S_ISREG(state.st_mode):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            found[str(path)] = f"{state.st_mode:o} {state.st_mtime_ns} {content}"
        else:
            found[str(path)] = f"{state.st_mode:o}"
    return found
