"""The `llmc` command: parse, call, show.

Exit status: 0 the command did what it was asked; 1 it ran, but some spans failed; 2 it could not
run, or not go on (a wrong setting, no model, an unusable index, a full disk, hosts that stay away);
130 interrupted, 143 asked to end by SIGTERM, 129 by a terminal that closed; 141 nobody reads the
output any more.

Modules, each built on those before it: common, question, streams, commands, adopting, indexing,
init, ledger, printing, model, reading, why, trust, doctor, planning, running, enriching, driver.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from llmc import __version__
from llmc.cli import adopting, doctor, enriching, indexing, init, ledger, model, reading, trust, why
from llmc.cli.commands import Formatter, Parser, show_examples
from llmc.cli.common import complain
from llmc.cli.streams import OutputError, accept_any_text, silence, watch
from llmc.errors import LlmcError
from llmc.programs.encoding import ensure_utf8


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    if argv is None:
        ensure_utf8()
    accept_any_text()
    args = make_parser().parse_args(argv)
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = watch(sys.stdout), watch(sys.stderr)
    try:
        status = args.run(args)
        if sys.stdout:
            sys.stdout.flush()
        return int(status)
    except LlmcError as error:
        complain(str(error))
        return 2
    except KeyboardInterrupt:
        complain("interrupted; what was stored is safe")
        return 130
    except OutputError as error:
        silence()
        if isinstance(error.__cause__, BrokenPipeError):
            return 141  # whoever read it has left
        complain(f"cannot write the output: {error.strerror}")
        return 2
    finally:
        sys.stdout, sys.stderr = streams


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = Parser(
        prog="llmc",
        description="Turn a code base into knowledge: index it into spans, have language models "
        "write a validated, cited summary of each. llmc COMMAND --help says more of a command.",
        epilog=show_examples(
            (
                "llmc doctor            would a run work here, and if not, why?",
                "llmc enrich --limit 5  have five spans described",
                "llmc show src/a.py:12  read what is known of a line",
            ),
            "0 done, 1 some spans failed, 2 could not run or go on, 130 interrupted, 143 ended by "
            "SIGTERM, 129 by a terminal that closed, 141 nobody reads the output any more",
        ),
        formatter_class=Formatter,
    )
    parser.add_argument(
        "--version", action="version", version=f"llmc {__version__}", help="print the version"
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    for command in (
        init,
        trust,
        indexing,
        enriching,
        reading,
        why,
        adopting,
        ledger,
        model,
        doctor,
    ):
        command.add(commands)
    return parser
