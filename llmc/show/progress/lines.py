"""The lines that a run leaves behind: on a log, above the live display, at the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.text import Text

from llmc.models import RunReport, SpanReport
from llmc.redaction.text import describe_place, format_duration, make_one_line
from llmc.run.departures import tell_departures
from llmc.show.claims import tell_dropped
from llmc.show.counting import tell_count
from llmc.show.progress.rows import tell_counts
from llmc.show.progress.tally import RunView
from llmc.show.remains import Reason, tell_remains, tell_retry


def tell_span(report: SpanReport, number: int, total: int) -> Text:
    """Return one line about a settled span; a failed one says why."""
    last = report.last
    if report.success:
        text = Text(f"{number:>{len(str(total))}}/{total} ok    ", style="green")
        text.append(
            f"{describe_place(report.span)}  {make_one_line(report.tier)}  {report.wall_sec:.1f} s",
            "default",
        )
        if len(report.outcomes) > 1:
            text.append(f"  {len(report.outcomes)} attempts", style="yellow")
        if last.cut_lines:
            text.append(f"  {last.cut_lines} lines cut to fit the model", style="yellow")
        if last.review.parroted:
            text.append(f"  {last.review.parroted} parroted instructions dropped", style="yellow")
        if report.dropped:
            text.append(f"  {tell_count(len(report.dropped), 'claim')} dropped", style="yellow")
        return text
    text = Text("failed  ", style="red")
    text.append(
        f"{describe_place(report.span)}  after {len(report.outcomes)} attempts: ", style="default"
    )
    text.append(make_one_line((last.detail or last.failure_type or "")[:400]))
    return text


def tell_by_rule(report: SpanReport) -> Text:
    """Return one line about a span that no model was asked about."""
    return Text(f"by rule  {describe_place(report.span)}", style="dim")


def tell_pace(view: RunView) -> Text:
    """Return how far a run is and how fast it goes."""
    rate = "--" if view.rate is None else f"{60 * view.rate:.1f}"
    text = f"{tell_counts(view)}, {rate} spans/min"
    if view.seconds_left is not None:
        text += f", {format_duration(view.seconds_left)} left"
    return Text(text)


def tell_rest(host: str, seconds: float, reason: str) -> Text:
    """Return that a host rests, and why."""
    text = (
        f"{make_one_line(host)} rests for {format_duration(seconds)}: {make_one_line(reason)[:400]}"
    )
    return Text(text, style="yellow")


def tell_return(host: str) -> Text:
    """Return that a host is back."""
    return Text(f"{make_one_line(host)} answers again")


def sum_up(
    report: RunReport, reasons: Sequence[Reason] = (), next_retry: float | None = None
) -> Text:
    """Return the end of a run: a line of counts, and one for each thing that is left to do.

    `reasons` say why spans are left; the first that rests is tried again at `next_retry`.
    """
    failed = sum(report.failed.values())
    text = Text()
    text.append(f"{report.enriched} enriched", style="bold")
    if report.by_rule:
        text.append(f", {report.by_rule} written by rule")
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(report.failed.items()))
    text.append(f", {failed} failed" + (f" ({kinds})" if failed else ""))
    text.append(f", {report.left} left")
    if report.unfinished:
        text.append(f" ({report.unfinished} unfinished)")
    text.append(f", {format_duration(report.wall_sec)}")
    if report.enriched and report.wall_sec > 0:
        text.append(f", {report.enriched / report.wall_sec * 60:.1f} spans/min")
    if dropped := tell_dropped(report.dropped):
        text.append(f"\nclaims    {dropped}")
    for line in (*tell_remains(reasons), *_tell_resting(report, next_retry)):
        text.append(f"\n{line}")
    for line in tell_departures(report):
        text.append(f"\n{line}")
    if report.stopped:
        text.append(f"\nstopped: {make_one_line(report.stopped)}", style="yellow")
    if report.interrupted:
        text.append("\ninterrupted: run it again to go on from here", style="yellow")
    return text


def _tell_resting(report: RunReport, next_retry: float | None) -> Iterator[str]:
    """Say that what failed rests, until when, and how not to wait for that."""
    when = tell_retry(next_retry)
    until = (
        f", {'the first ' if report.resting + sum(report.failed.values()) > 1 else ''}until {when}"
    )
    if report.resting:
        rest = "runs and rest" if report.resting > 1 else "runs and rests"
        now = "them" if report.resting > 1 else "it"
        yield (
            f"{report.resting} failed in earlier {rest}{until if when else ''}; "
            f"--retry-failed tries {now} now"
        )
    elif report.failed and when:
        yield f"what failed rests{until}; --retry-failed tries it now"
