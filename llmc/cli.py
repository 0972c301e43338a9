"""The `llmc` command: parse, call, show.

Exit status: 0 the command did what it was asked; 1 it ran, but some spans failed; 2 it could not
run, or not go on (a wrong setting, no model, an unusable index, a full disk, hosts that stay away);
130 interrupted, 143 asked to end by SIGTERM.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from llmc import __version__
from llmc.errors import ConfigError, LlmcError, StoreError

MAX_SLOTS = 256

if TYPE_CHECKING:
    from rich.console import Console

    from llmc.config import Settings
    from llmc.events import Event
    from llmc.models import IndexReport, RunReport
    from llmc.selection import Selection


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    _accept_any_text()
    args = _parser().parse_args(argv)
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _watched(sys.stdout), _watched(sys.stderr)
    try:
        status = args.run(args)
        if sys.stdout:
            sys.stdout.flush()
        return int(status)
    except LlmcError as error:
        _complain(str(error))
        return 2
    except KeyboardInterrupt:
        _complain("interrupted; what was stored is safe")
        return 130
    except _OutputError as error:
        # A second flush at exit would complain once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error.__cause__, BrokenPipeError):
            return 141  # whoever read it has left
        _complain(f"cannot write the output: {error.strerror}")
        return 2
    finally:
        sys.stdout, sys.stderr = streams


class _OutputError(OSError):
    """Output cannot be written; any other OSError is somebody else's."""


class _Watched:
    """A stream whose own troubles are told from those of other files."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with _told_apart():
            return self._stream.write(text)

    def flush(self) -> None:
        with _told_apart():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def _told_apart() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _OutputError(error.errno, error.strerror) from error


def _watched(stream: TextIO | None) -> Any:
    return _Watched(stream) if stream else stream


def _accept_any_text() -> None:
    """Let no path or summary fail to print: what the terminal can't show comes as an escape."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="llmc",
        description="Turn a code base into knowledge: index it into spans, have language models "
        "write a validated, cited summary of each.",
        epilog="exit status: 0 done, 1 some spans failed, 2 could not run or go on, "
        "130 interrupted, 143 ended by SIGTERM",
    )
    parser.add_argument("--version", action="version", version=f"llmc {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    index = commands.add_parser("index", help="cut the repository's files into spans")
    _common(index)
    index.set_defaults(run=_index)

    enrich = commands.add_parser("enrich", help="have models describe spans (indexes first)")
    _common(enrich)
    _enrich_flags(enrich)
    enrich.set_defaults(run=_enrich)

    status = commands.add_parser("status", help="say what is indexed, enriched, pending, failed")
    _common(status)
    status.set_defaults(run=_status)

    show = commands.add_parser("show", help="print spans with their enrichments")
    show.add_argument("path", nargs="?", metavar="PATH[:LINE]", help="a file, or a line of it")
    show.add_argument("--repo", default=".", help="the repository (default: the one you are in)")
    show.add_argument(
        "--last", type=_count, metavar="N", help="the N spans enriched last (default without PATH)"
    )
    show.add_argument("--json", action="store_true", help="print JSON")
    show.set_defaults(run=_show)

    ledger = commands.add_parser("ledger", help="compare the logs of runs with the index")
    _ledger_flags(ledger)

    doctor = commands.add_parser("doctor", help="say whether a run would work, and if not, why")
    _common(doctor)
    _doctor_flags(doctor)
    doctor.set_defaults(run=_doctor)
    return parser


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "repo", nargs="?", default=".", metavar="REPO", help="a git repository (default: this one)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def _enrich_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--limit", type=_count, default=0, metavar="N", help="stop after N enriched spans"
    )
    parser.add_argument(
        "--backend",
        choices=("auto", "ollama", "gateway", "embedded"),
        help="auto: the configured chain, else Ollama, else the embedded model",
    )
    parser.add_argument("--chain", metavar="NAME", help="the chain of llmc.toml to use")
    parser.add_argument("--start-tier", choices=("auto", "7b", "14b", "nano"))
    parser.add_argument("--router", choices=("on", "off"))
    parser.add_argument(
        "--retries", type=_attempts, default=3, metavar="N", help="attempts per span (default 3)"
    )
    parser.add_argument("--gateway-path", metavar="PROGRAM", help="a program as the gateway")
    parser.add_argument(
        "--slots",
        type=_slots,
        metavar="N",
        help="requests in flight per host; an entry's slots in llmc.toml wins (default 1)",
    )
    parser.add_argument(
        "--hosts",
        choices=("spread", "failover"),
        help="spread: every host works, each on one model at a time (default); failover: each "
        "span begins at the first host, the others take what fails there",
    )
    parser.add_argument(
        "--wait-for-hosts",
        type=_count,
        metavar="SECONDS",
        help="end when no host has answered for so long (default 900)",
    )
    parser.add_argument(
        "--retry-failed",
        action="store_true",
        help="try spans that failed in earlier runs now, whatever their pause",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the prompts, call nothing")
    parser.add_argument("--quiet", action="store_true", help="say nothing but errors and the end")
    parser.add_argument("--verbose", action="store_true", help="say every span")


def _doctor_flags(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "exit status: 0 a run would work, 1 it would not, 2 the configuration cannot be read"
    )
    parser.add_argument("--backend", choices=("auto", "ollama", "gateway", "embedded"))
    parser.add_argument("--chain", metavar="NAME", help="the chain of llmc.toml to use")
    parser.add_argument("--gateway-path", metavar="PROGRAM", help="a program as the gateway")
    parser.add_argument("--no-trial", action="store_true", help="ask no model for a trial reply")
    parser.add_argument(
        "--trial-cloud",
        action="store_true",
        help="ask gateways for a trial reply too: it may cost money, and sends a small example",
    )


def _ledger_flags(parser: argparse.ArgumentParser) -> None:
    check = parser.add_subparsers(title="commands", metavar="COMMAND", required=True).add_parser(
        "check",
        help="say whether each result has its lines, and each line its result",
        description="Compare logs/run_ledger.log and the metrics log with the index. Rotated files "
        "beside them (NAME.1, NAME-20260131, also .gz) are read too.",
        epilog="exit status: 0 they agree, or do now; 1 lines are missing or results are lost; 2 "
        "could not run. Damaged lines, double passes, and passes whose result may be in another "
        "index of the repository, are only told.",
    )
    _common(check)
    check.add_argument("--rebuild", action="store_true", help="write the missing lines")
    check.add_argument(
        "--log",
        metavar="FILE",
        help="the metrics log of runs that had --log; the usual one is read too, and a line that "
        "neither has goes to this one",
    )
    check.set_defaults(run=_ledger_check)


def _count(text: str) -> int:
    if not text.isdecimal() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 0 or above")
    return int(text)


def _attempts(text: str) -> int:
    if not _count(text):
        raise argparse.ArgumentTypeError("a span needs at least 1 attempt")
    return int(text)


def _slots(text: str) -> int:
    if not 1 <= _count(text) <= MAX_SLOTS:
        raise argparse.ArgumentTypeError(f"a host has 1 to {MAX_SLOTS} slots, not {text}")
    return int(text)


def _index(args: argparse.Namespace) -> int:
    from llmc import engine
    from llmc.config import load_settings

    settings = load_settings(_repository(args.repo))
    report = engine.index(settings.repo, settings, hooks=(_warn,))
    if args.json:
        _print_json(
            {
                "files": report.files,
                "changed": report.changed,
                "removed": report.removed,
                "spans": report.spans,
                "skipped": [{"path": path, "reason": why} for path, why in report.skipped],
            }
        )
    else:
        _say_skipped(report, most=len(report.skipped))
        print(_index_line(report, settings.index_path))
    return 0


def _enrich(args: argparse.Namespace) -> int:
    from llmc import engine
    from llmc.config import Flags, load_settings
    from llmc.models import RunReport
    from llmc.progress import RunDisplay, run_summary
    from llmc.stopping import Stop

    flags = Flags(
        backend=args.backend,
        chain=args.chain,
        limit=args.limit,
        router=args.router,
        start_tier=args.start_tier,
        retries=args.retries,
        gateway_path=args.gateway_path,
        verbose=args.verbose,
        slots=args.slots,
        host_order=args.hosts,
        host_patience=args.wait_for_hosts,
        retry_failed=args.retry_failed,
    )
    settings = load_settings(_repository(args.repo), flags)
    console = _console(quiet=args.quiet or args.json)
    for warning in settings.warnings:
        _complain(warning)
    indexed = engine.index(settings.repo, settings, hooks=(_warn,), mend=False)
    if not (args.quiet or args.json):
        _say_skipped(indexed)
        line = f"index     {_index_line(indexed, settings.index_path)}"
        console.print(line, markup=False, soft_wrap=True)
    from llmc.selection import select, without_unasked_cloud

    if args.dry_run:
        return _dry_run(without_unasked_cloud(settings), as_json=args.json)
    if not indexed.spans:
        console.print("nothing to enrich: no file here holds a span of a language llmc knows")
        if args.json:
            _print_json(_run_record(RunReport(0, {}, 0, 0.0), []))
        return 0
    selection = select(settings)
    _announce(console, selection)
    failures: list[dict[str, object]] = []
    stop = Stop()
    with RunDisplay(console, verbose=args.verbose) as display, stop.on_signals():
        hooks = (display, _collector(failures)) if args.json else (display,)
        report = engine.enrich(settings.repo, selection.settings, hooks=hooks, stop=stop)
    if args.json:
        _print_json(_run_record(report, failures))
    else:
        _console(stderr=False).print(run_summary(report), soft_wrap=True)
    if report.interrupted:
        return 128 + (stop.signal or signal.SIGINT)
    if report.stopped:
        return 2
    return 1 if report.failed else 0


def _dry_run(settings: Settings, *, as_json: bool) -> int:
    from llmc import engine
    from llmc.text import plain, unbroken

    planned = engine.plan(settings.repo, settings)
    if as_json:
        _print_json(
            [
                {"path": span.path, "symbol": span.symbol, "tier": tier, "prompt": prompt}
                for span, tier, prompt in planned
            ]
        )
        return 0
    for span, tier, prompt in planned:
        print(unbroken(f"--- {span.path}:{span.start_line} {span.symbol} ({tier})"))
        print(plain(prompt.replace("\r\n", "\n")))
    return 0


def _run_record(report: RunReport, failures: list[dict[str, object]]) -> dict[str, object]:
    return {
        "enriched": report.enriched,
        "failed": dict(report.failed),
        "left": report.left,
        "wall_sec": round(report.wall_sec, 3),
        "interrupted": report.interrupted,
        "unfinished": report.unfinished,
        "resting": report.resting,
        "stopped": report.stopped,
        "failures": failures,
    }


def _status(args: argparse.Namespace) -> int:
    from llmc.display import status_record, status_view
    from llmc.store import Store

    with Store.open_readonly(_index_path(args.repo)) as store:
        totals = store.totals()
    if args.json:
        _print_json(status_record(totals))
    else:
        _console(stderr=False).print(status_view(totals))
    return 0


def _show(args: argparse.Namespace) -> int:
    from llmc.display import result_record, results_view
    from llmc.store import Store

    repo = _repository(args.repo)
    with Store.open_readonly(_index_path(args.repo)) as store:
        if args.path:
            path, line = _place(args.path, repo)
            if path not in store.files():
                raise StoreError(f"{path!r} is not in the index; llmc index brings it up to date")
            results = store.spans_of(path, line)
        else:
            results = store.latest(args.last or 5)
    if args.json:
        _print_json([result_record(result) for result in results])
    elif results:
        _console(stderr=False).print(results_view(results))
    else:
        print("no span there" if args.path else "nothing is enriched yet; run: llmc enrich")
    return 0


def _ledger_check(args: argparse.Namespace) -> int:
    from llmc.audit import examine
    from llmc.audit_view import audit_lines, audit_record
    from llmc.config import Flags, load_settings
    from llmc.reader import Reader
    from llmc.rebuild import rebuild

    settings = load_settings(_repository(args.repo), Flags(log=args.log))
    with Reader.open_readonly(settings.index_path) as reader:
        if args.rebuild:
            fields = settings.router.policy.log_fields
            audit = rebuild(reader, settings.repo, settings.metrics_log, log_fields=fields)
        else:
            audit = examine(reader, settings.repo, settings.metrics_log)
    if args.json:
        _print_json(audit_record(audit))
    else:
        print(*audit_lines(audit), sep="\n")
    return 0 if audit.agrees else 1


def _doctor(args: argparse.Namespace) -> int:
    from llmc import doctor
    from llmc.config import Flags
    from llmc.display import doctor_record, doctor_view

    flags = Flags(backend=args.backend, chain=args.chain, gateway_path=args.gateway_path)
    trials = doctor.Trials(local=not args.no_trial, cloud=args.trial_cloud)
    try:
        repo = _repository(args.repo)
    except ConfigError:
        repo = Path(args.repo)
        if not repo.is_dir():
            raise
    with _console(quiet=args.json).status("looking; a trial reply can take a minute or two"):
        report = doctor.examine(repo, flags, trials=trials)
    if args.json:
        _print_json(doctor_record(report))
    else:
        _console(stderr=False).print(doctor_view(report))
    return report.exit_status


def _place(text: str, repo: Path) -> tuple[str, int | None]:
    """Split PATH[:LINE]; the path may be relative to here or to the repository."""
    name, colon, number = text.rpartition(":")
    path, line = (name, int(number[:9])) if colon and number.isdecimal() else (text, None)
    with suppress(OSError, RuntimeError):  # no file can be there: a loop of links, too long a name
        here = Path(path).parent.resolve() / Path(path).name
        if here.exists() and here.is_relative_to(repo):
            return here.relative_to(repo).as_posix(), line
    return Path(os.path.normpath(path)).as_posix(), line


def _repository(text: str) -> Path:
    """Return the root of the git repository at or above a path. Raises ConfigError."""
    try:
        start = Path(text).resolve(strict=True)
        if not start.is_dir():
            raise ConfigError(f"{text!r} is not a folder")
        for folder in (start, *start.parents):
            if (folder / ".git").exists():
                return folder
    except (OSError, RuntimeError) as error:
        raise ConfigError(f"{text!r} cannot be entered: {error}") from error
    raise ConfigError(f"{start} is not a git repository; make it one with: git init")


def _index_path(repo: str) -> Path:
    from llmc.config import index_path

    return index_path(_repository(repo))


def _index_line(report: IndexReport, path: Path) -> str:
    from llmc.text import unbroken

    text = f"{report.spans} spans in {report.files} files"
    changes = [f"{report.changed} changed"] if report.changed else []
    changes += [f"{report.removed} removed"] if report.removed else []
    changes += [f"{len(report.skipped)} skipped"] if report.skipped else []
    return f"{text} ({', '.join(changes) or 'nothing changed'}), {unbroken(str(path))}"


def _say_skipped(report: IndexReport, most: int = 10) -> None:
    from llmc.text import unbroken

    for _, reason in report.skipped[:most]:
        print(f"skipped   {unbroken(reason)}", file=sys.stderr)
    if len(report.skipped) > most:
        more = len(report.skipped) - most
        print(f"skipped   {more} more files; llmc index names them all", file=sys.stderr)


def _announce(console: Console, selection: Selection) -> None:
    from llmc.text import unbroken

    for line in selection.lines:
        console.print(unbroken(line), markup=False, soft_wrap=True)


def _console(*, stderr: bool = True, quiet: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr, quiet=quiet, highlight=False)


def _warn(event: Event) -> None:
    from llmc.events import Warned

    if isinstance(event, Warned):
        _complain(event.message)


def _collector(failures: list[dict[str, object]]) -> _Hook:
    from llmc.events import SpanFailed

    def collect(event: Event) -> None:
        if isinstance(event, SpanFailed):
            span, last = event.report.span, event.report.last
            failures.append(
                {
                    "path": span.path,
                    "lines": [span.start_line, span.end_line],
                    "symbol": span.symbol,
                    "reason": last.failure_type,
                    "detail": last.detail,
                }
            )

    return collect


def _complain(text: str) -> None:
    from llmc.text import unbroken

    print(f"llmc: {unbroken(text)}", file=sys.stderr)


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2))


if TYPE_CHECKING:
    from llmc.events import EventHook as _Hook
