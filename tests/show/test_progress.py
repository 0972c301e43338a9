"""What is shown of a run: the pace, each host's line, what fits a terminal, what a log gets."""

import io
import re
import sys
import threading
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console, Group
from rich.text import Text

from llmc.events import (
    AttemptFinished,
    CallFinished,
    CallStarted,
    FileGone,
    HostRests,
    HostReturned,
    HostSlots,
    RunFinished,
    RunStarted,
    SpanEnriched,
    SpanFailed,
    Stopping,
    Warned,
)
from llmc.models import Attempt, AttemptOutcome, Enrichment, RunReport, Span, SpanMetrics
from llmc.models import SpanReport as Settled
from llmc.redaction.text import format_duration, make_one_line, make_plain
from llmc.show.progress.display import RunDisplay, sum_up
from llmc.show.progress.pace import Pace
from llmc.show.progress.panel import Canvas, Panel
from llmc.show.progress.rows import fit_cells
from llmc.show.progress.screen import Screen
from llmc.show.progress.tally import Tally

SPAN = Span(1, "src/app.py", "python", "run", "function", 4, 9, 0, 100, "hash")
METRICS = SpanMetrics(6, 1, 1, 1, 10, 10)
TERMINAL = {"TERM": "xterm-256color"}


class Clock:
    """A clock that stands still until it is told to go on."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    """A file that says it is a terminal, and can go away."""

    gone = False

    def isatty(self):
        return True

    def write(self, text):
        if self.gone:
            raise OSError(5, "Input/output error")
        return super().write(text)


def attempt(*, good=True, tokens=None, host="attic"):
    outcome = AttemptOutcome(
        attempt=Attempt(1, "7b", 0),
        backend="ollama",
        duration_sec=2.0,
        enrichment=Enrichment() if good else None,
        failure_type=None if good else "parse",
        detail=None if good else "reply refused (parse): not JSON",
        completion_tokens=tokens,
    )
    return AttemptFinished(SPAN, outcome, None, host)


def report(*, good=True):
    return Settled(SPAN, METRICS, (attempt(good=good).outcome,), "7b", "m", "v1", 2.0)


def enriched(total=10**9, stored=0):
    return SpanEnriched(report(), total, stored)


def failed():
    return SpanFailed(report(good=False))


def started(pending=100, limit=0, **slots):
    return RunStarted(
        pending, limit, tuple(HostSlots(name, count) for name, count in slots.items())
    )


def tally_of(*events, now=0.0):
    tally = Tally(now)
    for event in events:
        tally.apply(event, now)
    return tally


def drawn(tally, *, now=0.0, width=80, height=24, only_ascii=False):
    canvas = Canvas(width, height, only_ascii)
    return [line.plain for line in Panel().draw(tally.view(now), canvas)]


def log_of(*events, clock=None, **options):
    """Return what a display writes to a file that is no terminal."""
    file = io.StringIO()
    console = Console(file=file, width=80, highlight=False)
    with RunDisplay(console, clock=clock or Clock(), **options) as display:
        for event in events:
            display(event)
    return file.getvalue().splitlines()


def terminal_of(*events, **options):
    """Return what a display writes to a terminal, control codes and all."""
    file = Terminal()
    console = Console(file=file, width=80, height=24, _environ=TERMINAL, highlight=False)
    with RunDisplay(console, clock=Clock(), **options) as display:
        for event in events:
            display(event)
    return file.getvalue()


def screen_of(written, before=("",)):
    """Return the lines that a terminal shows in the end; knows only the codes that are used."""
    lines, row = [*before], len(before) - 1
    for piece in re.findall(r"\x1b\[[?0-9;]*[A-Za-z]|[^\x1b]", written):
        if piece == "\n":
            row += 1
            lines += [""] * (row - len(lines) + 1)
        elif piece.endswith("A") and len(piece) > 1:
            row -= int(piece[2:-1])
        elif piece.endswith("B") and len(piece) > 1:
            row += int(piece[2:-1])
        elif piece == "\x1b[2K":
            lines[row] = ""
        elif piece != "\r" and len(piece) == 1:
            lines[row] += piece
    return [line for line in lines if line]


# -- the pace ---------------------------------------------------------------------------------


def paced(times, **options):
    pace = Pace(0.0, **options)
    for moment in times:
        pace.add(moment, good=True, tokens=100)
    return pace


def test_there_is_no_pace_before_the_first_completion():
    assert Pace(0.0).compute_rates(50.0) is None


def test_the_pace_counts_the_last_two_minutes_only():
    pace = paced([*range(1, 301), *(300 + n / 4 for n in range(1, 481))])
    rates = pace.compute_rates(420.0)
    assert (rates.finished, rates.good) == (pytest.approx(4.0), pytest.approx(4.0))


def test_a_burst_after_a_long_silence_counts_over_the_window():
    pace = paced([*range(1, 11), *range(1001, 1011)])
    assert pace.compute_rates(1010.0).finished == pytest.approx(10 / 120)


def test_at_the_start_the_pace_counts_the_time_so_far():
    assert paced([10, 20, 30, 40, 50]).compute_rates(50.0).finished == pytest.approx(5 / 50)


def test_tokens_are_those_written_in_the_window():
    pace = paced(range(1, 241))
    assert pace.compute_rates(240.0).tokens == pytest.approx(100.0)


def test_a_refused_attempt_counts_as_finished_and_not_as_good():
    pace = paced([10.0])
    pace.add(20.0, good=False)
    rates = pace.compute_rates(20.0)
    assert (rates.finished, rates.good) == (pytest.approx(0.1), pytest.approx(0.05))


def test_spans_of_three_minutes_have_a_steady_pace():
    pace = Pace(0.0)
    for number in range(1, 13):
        pace.add(180.0 * number, good=True)
        for later in range(0, 180, 20):
            rate = pace.compute_rates(180.0 * number + later).finished
            assert rate == pytest.approx(1 / 180)


def test_slow_spans_that_end_together_still_give_the_pace():
    pace = Pace(0.0, slots=8)
    for number in range(1, 7):
        for slot in range(8):
            pace.add(180.0 * number + slot / 10, good=True)
        for later in range(1, 180, 20):
            rate = pace.compute_rates(180.0 * number + later).finished
            assert rate == pytest.approx(8 / 180, rel=0.05)


def test_a_pace_that_ends_shows_within_the_window():
    pace = paced(range(1, 601))
    assert pace.compute_rates(720.0).finished < 0.05


def test_a_slow_pace_that_ends_shows_once_the_next_span_is_overdue():
    pace = paced(range(180, 1900, 180))
    assert pace.compute_rates(1800.0 + 2 * 720).finished < 0.5 / 180


def test_a_host_that_turns_up_shows_in_full_after_the_window():
    pace = paced([*range(1, 601), *(600 + n / 2 for n in range(1, 241))])
    assert pace.compute_rates(720.0).finished == pytest.approx(2.0)


def test_a_first_completion_at_once_is_no_record():
    assert paced([0.001]).compute_rates(0.001).finished == pytest.approx(1.0)


@given(st.lists(st.tuples(st.floats(0, 1e4), st.booleans())), st.integers(0, 64))
def test_rates_are_never_negative_and_good_ones_are_among_all(steps, slots):
    pace, now = Pace(0.0, slots), 0.0
    for wait, good in steps:
        now += wait
        pace.add(now, good=good)
        rates = pace.compute_rates(now + wait)
        assert 0 <= rates.good <= rates.finished <= len(steps)


# -- the counts -------------------------------------------------------------------------------


def test_left_is_what_is_neither_done_nor_failed():
    view = tally_of(started(10), enriched(), enriched(), failed()).view(0.0)
    assert (view.done, view.failed, view.left) == (2, 1, 7)


def test_with_a_limit_left_is_up_to_the_limit_and_a_failed_span_is_no_step_towards_it():
    view = tally_of(started(100, limit=5), enriched(), enriched(), failed()).view(0.0)
    assert view.left == 3


def test_a_limit_beyond_the_work_is_none():
    view = tally_of(started(4, limit=50), enriched(), failed()).view(0.0)
    assert view.left == 2


def test_spans_that_left_with_their_file_are_not_left():
    view = tally_of(started(10), FileGone("a.py", spans=4, enrichments=1), enriched()).view(0.0)
    assert view.left == 6


def test_what_another_process_enriched_is_not_left():
    view = tally_of(started(100), failed(), enriched(total=100, stored=41)).view(0.0)
    assert view.left == 58


def test_the_time_left_follows_the_moving_pace():
    tally = tally_of(started(400))
    for second in range(1, 181):
        tally.apply(enriched(), float(second))
    assert tally.view(180.0).seconds_left == pytest.approx(220.0)
    assert tally.view(299.0).seconds_left > 2000


def test_failed_spans_bring_the_end_nearer_but_not_a_limit():
    for limit, expected in ((0, 80 / 2), (50, 40 / 1)):
        tally = tally_of(started(100, limit=limit))
        for second in range(1, 11):
            tally.apply(enriched(), float(second))
            tally.apply(failed(), float(second))
        assert tally.view(10.0).seconds_left == pytest.approx(expected)


def test_no_time_left_is_named_once_a_stop_was_asked_for():
    tally = tally_of(started(100), enriched(), Stopping(1))
    assert tally.view(5.0).seconds_left is None


def test_a_slot_is_busy_from_the_start_of_a_call_to_its_end():
    tally = tally_of(started(attic=2), CallStarted("attic", "m"), CallStarted("attic", "m"))
    assert tally.view(0.0).hosts[0].busy == 2
    tally.apply(CallFinished("attic"), 0.0)
    assert tally.view(0.0).hosts[0].busy == 1


def test_more_calls_than_slots_show_as_all_slots_busy():
    tally = tally_of(started(attic=2), *[CallStarted("attic", "m")] * 3)
    assert tally.view(0.0).hosts[0].busy == 2


def test_a_host_that_was_not_announced_has_as_many_slots_as_were_busy():
    tally = tally_of(started(), *[CallStarted("new", "m")] * 3, CallFinished("new"))
    [host] = tally.view(0.0).hosts
    assert (host.busy, host.slots) == (2, 3)


def test_hosts_of_one_name_are_one_host():
    tally = tally_of(RunStarted(9, 0, (HostSlots("attic", 2), HostSlots("attic", 3))))
    assert [(host.name, host.slots) for host in tally.view(0.0).hosts] == [("attic", 5)]


def test_a_hosts_pace_counts_from_its_first_call():
    tally = tally_of(started(attic=1))
    tally.apply(CallStarted("attic", "m"), 1000.0)
    tally.apply(attempt(tokens=300), 1010.0)
    [host] = tally.view(1010.0).hosts
    assert host.rates.good == pytest.approx(1 / 10)
    assert host.rates.tokens == pytest.approx(30.0)


def test_a_further_call_does_not_begin_the_pace_anew():
    tally = tally_of(started(attic=1), CallStarted("attic", "m"))
    tally.apply(CallStarted("attic", "m"), 50.0)
    tally.apply(attempt(), 100.0)
    assert tally.view(100.0).hosts[0].rates.good == pytest.approx(1 / 100)


def test_a_host_that_comes_back_is_measured_anew():
    tally = tally_of(started(attic=1), CallStarted("attic", "m"), attempt())
    tally.apply(HostRests("attic", 30, "gone"), 10.0)
    tally.apply(CallStarted("attic", "m"), 500.0)
    tally.apply(HostReturned("attic"), 505.0)
    tally.apply(attempt(), 505.0)
    assert tally.view(505.0).hosts[0].rates.good == pytest.approx(1 / 5)


def test_the_requests_that_a_stop_waits_for_are_counted_down():
    tally = tally_of(started(attic=2), Stopping(2), attempt())
    assert tally.view(0.0).ending == 1


# -- the lines of the display -----------------------------------------------------------------


def busy_run():
    """Two hosts after a minute: one at work, one that rests."""
    tally = tally_of(
        started(200, attic=4, cellar=2),
        *[CallStarted("attic", "qwen2.5:7b-instruct-q4_K_M")] * 2,
    )
    for second in range(5, 61, 5):
        tally.apply(attempt(tokens=500), float(second))
        tally.apply(enriched(), float(second))
    tally.apply(failed(), 60.0)
    tally.apply(HostRests("cellar", 14, "connection refused"), 60.0)
    return tally


def test_eighty_columns():
    assert drawn(busy_run(), now=60.0) == [
        "attic   2/4  qwen2.5:7b-instruct-q4_K_M    100 tokens/s   12.0 spans/min",
        "cellar  0/2  resting 14 s: connection refused",
        "━━━━" + "─" * 63 + "   6%",
        "12 done, 1 failed, 187 left, 14 min to go                 12.0 spans/min",
        "",
    ]


def test_sixty_columns():
    assert drawn(busy_run(), now=60.0, width=60) == [
        "attic   2/4  qwen2.5:7b-…uct-q4_K_M    100 tok/s   12.0/min",
        "cellar  0/2  resting 14 s: connection refused",
        "━━━╸" + "─" * 50 + "   6%",
        "12 done, 1 failed, 187 left, 14m to go             12.0/min",
        "",
    ]


def test_forty_five_columns_leave_out_tokens_and_the_pace_of_all():
    host, _, _, count, _ = drawn(busy_run(), now=60.0, width=45)
    assert host == "attic   2/4  qwen2.5:7b…ct-q4_K_M   12.0/min"
    assert count == "12 done, 1 failed, 187 left, 14m to go"


def test_a_run_that_has_just_begun_names_no_pace():
    tally = tally_of(started(5, attic=1), CallStarted("attic", "m"))
    assert drawn(tally)[0].endswith("-- tokens/s     -- spans/min")
    assert "to go" not in drawn(tally)[2]


def test_a_rest_is_counted_down_and_then_over():
    tally = tally_of(started(attic=1), HostRests("attic", 14, "connection refused"))
    assert "resting 4 s: connection refused" in drawn(tally, now=10.0)[0]
    assert "resting, to be tried again: connection refused" in drawn(tally, now=20.0)[0]
    tally.apply(HostReturned("attic"), 20.0)
    assert "resting" not in drawn(tally, now=20.0)[0]


def test_a_rest_is_yellow():
    tally = tally_of(started(attic=1), HostRests("attic", 14, "x"))
    row = Panel().draw(tally.view(0.0), Canvas(80, 24))[0]
    assert [str(span.style) for span in row.spans] == ["yellow"]


def test_a_stop_says_what_it_waits_for():
    tally = tally_of(started(attic=4), Stopping(3))
    expected = "stopping: 3 requests are being finished; Ctrl-C again to stop now"
    assert drawn(tally)[-1] == expected
    assert drawn(tally, width=60)[-1] == ("stopping: 3 being finished; Ctrl-C again to stop now")


def test_a_stop_that_waits_for_one_says_so():
    assert "1 request is being" in drawn(tally_of(started(attic=4), Stopping(1)))[-1]


def test_numbers_keep_their_place_while_they_change():
    def ends(tally, now):
        row, _, _, count, _ = drawn(tally, now=now)
        return [*(match.end() for match in re.finditer(r"\w+/\w+", row)), len(count)]

    tally = busy_run()
    before = ends(tally, 60.0)
    for number in range(2000):
        tally.apply(attempt(tokens=900), 60 + number / 50)
        tally.apply(enriched(), 60 + number / 50)
    assert ends(tally, 100.0) == before


def test_columns_do_not_move_when_a_shorter_model_follows():
    panel, tally = Panel(), tally_of(started(attic=1), CallStarted("attic", "m" * 40))
    before = panel.draw(tally.view(0.0), Canvas(200, 24))[0].cell_len
    tally.apply(CallStarted("attic", "m"), 0.0)
    assert panel.draw(tally.view(0.0), Canvas(200, 24))[0].cell_len == before


def test_wide_characters_keep_the_columns():
    tally = tally_of(started(机房服务器=1, attic=1), CallStarted("attic", "模型"))
    first, second, *_ = drawn(tally)
    assert cell_len(first) == cell_len(second)
    assert first.startswith("机房服务器  0/1")
    assert second.startswith("attic       1/1")


def test_long_names_are_cut_in_the_middle():
    tally = tally_of(
        RunStarted(9, 0, (HostSlots("gpu-server-rack-17.example.lan", 1),)),
        CallStarted("gpu-server-rack-17.example.lan", "hf.co/someone/A-Model-GGUF:Q4_K_M"),
    )
    assert drawn(tally)[0].startswith("gpu-ser…ple.lan  1/1  hf.co/someon…GGUF:Q4_K_M")


def test_control_characters_and_line_breaks_do_not_get_through():
    name = "lab\x1b[31m\r\n\tx\u202e"
    tally = tally_of(RunStarted(9, 0, (HostSlots(name, 1),)), HostRests(name, 9, "a\x07\nb"))
    assert drawn(tally)[0] == "lab�[31m� x�  0/1  resting 9 s: a� b"


def test_only_ascii_where_nothing_else_can_be_shown():
    tally = tally_of(
        RunStarted(9, 0, (HostSlots("机房" * 9, 1),)), CallStarted("机房" * 9, "m" * 90), enriched()
    )
    lines = drawn(tally, only_ascii=True)
    assert "".join(lines).isascii()
    assert "~" in lines[0]
    assert re.match("#+-+ ", lines[1])


def test_a_bar_is_read_without_colour():
    tally = tally_of(started(10, attic=1), *[enriched()] * 5)
    bar = drawn(tally)[1]
    assert bar.count("━") == pytest.approx(bar.count("─"), abs=1)
    assert bar.endswith(" 50%")


def test_one_host_takes_one_line():
    assert len(drawn(tally_of(started(attic=4)))) == 4


def test_hosts_beyond_the_terminal_are_counted():
    tally = tally_of(started(**{f"h{n:02}": 1 for n in range(30)}), HostRests("h29", 9, "x"))
    tally.apply(HostRests("h28", 9, "x"), 0.0)
    lines = drawn(tally, height=12)
    assert len(lines) == 11
    assert lines[7] == "... and 23 more hosts"


def test_hosts_that_rest_and_the_busiest_come_first_in_their_order():
    tally = tally_of(started(**{f"h{n:02}": 4 for n in range(30)}))
    tally.apply(HostRests("h20", 9, "refused"), 0.0)
    for name, calls in (("h25", 3), ("h07", 2), ("h11", 1)):
        for _ in range(calls):
            tally.apply(CallStarted(name, "m"), 0.0)
            tally.apply(attempt(host=name), 1.0)
    shown = [line[:3] for line in drawn(tally, height=8, now=1.0)]
    assert shown[:4] == ["h07", "h20", "h25", "..."]


def test_busy_hosts_are_not_crowded_out_by_those_that_rest():
    tally = tally_of(started(**{f"h{n:02}": 4 for n in range(30)}))
    for number in range(20):
        tally.apply(HostRests(f"h{number:02}", 9, "refused"), 0.0)
    rows = drawn(tally, height=12)[:7]
    assert sum("resting" in row for row in rows) == 3
    assert "... and 23 more hosts, 17 of them resting" in drawn(tally, height=12)


def test_the_choice_of_hosts_stays_for_a_while():
    tally = tally_of(started(**{f"h{n:02}": 4 for n in range(30)}))
    panel, canvas = Panel(), Canvas(80, 8)

    def shown(now):
        return [line.plain[:3] for line in panel.draw(tally.view(now), canvas)][:3]

    before = shown(0.0)
    tally.apply(CallStarted("h25", "m"), 1.0)
    assert shown(1.0) == before
    assert "h25" in shown(11.0)


def test_a_terminal_of_three_lines_shows_the_counts():
    assert any("0 done" in line for line in drawn(tally_of(started(attic=1)), height=3))


NAMES = st.sampled_from(["attic", "cellar", "机房" * 12, "a" * 300, "", "x\x1b[2J\n", "👩‍👩‍👧❤️"])
EVENTS = st.one_of(
    st.builds(CallStarted, NAMES, NAMES),
    st.builds(CallFinished, NAMES),
    st.builds(HostRests, NAMES, st.floats(0, 1e6), st.text()),
    st.builds(HostReturned, NAMES),
    st.builds(Stopping, st.integers(0, 99)),
    st.builds(lambda n, ok, t: attempt(host=n, good=ok, tokens=t), NAMES, st.booleans(), st.none()),
    st.builds(lambda n, t: attempt(host=n, tokens=t), NAMES, st.integers(0, 10**7)),
    st.builds(enriched, st.integers(0, 500), st.integers(0, 500)),
    st.builds(failed),
    st.builds(FileGone, st.text(), st.integers(0, 9), st.integers(0, 9)),
    st.builds(Warned, st.text()),
    st.builds(
        RunStarted,
        st.integers(0, 10**6),
        st.integers(0, 50),
        st.lists(st.builds(HostSlots, NAMES, st.integers(0, 64))).map(tuple),
    ),
)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(EVENTS, st.floats(0, 500)), max_size=40),
    st.integers(1, 210),
    st.integers(1, 60),
    st.booleans(),
)
def test_whatever_happens_counts_hold_and_every_line_fits(steps, width, height, only_ascii):
    tally, panel, now = Tally(0.0), Panel(), 0.0
    for event, wait in steps:
        now += wait
        tally.apply(event, now)
        view = tally.view(now + wait)
        assert all(0 <= host.busy <= host.slots for host in view.hosts)
        assert view.left >= 0
        lines = panel.draw(view, Canvas(width, height, only_ascii))
        assert len(lines) <= height
        assert all(line.cell_len <= width for line in lines)
        file = io.StringIO()
        Console(file=file, width=width).print(Group(*lines))
        written = file.getvalue().splitlines()
        assert len(written) == len(lines)
        assert all(cell_len(line) <= width for line in written)


@given(st.text(), st.integers(0, 40), st.integers(0, 20))
def test_shortened_text_fits_and_keeps_both_ends(text, width, tail):
    text = make_one_line(text)
    short = fit_cells(text, width, min(tail, max(0, width - 1)))
    assert cell_len(short) <= width
    assert short == text or width == 0 or "…" in short


def test_a_wide_character_that_is_cut_in_half_leaves_no_gap():
    assert fit_cells("机房服务器", 7, 3) == "机…器"


# -- on a terminal ----------------------------------------------------------------------------


END = RunFinished(RunReport(1, {}, 0, 1.0))


def test_a_terminal_sees_each_host_and_in_the_end_nothing_of_it():
    written = terminal_of(started(attic=4), CallStarted("attic", "m"), enriched(), END)
    assert "attic" in written
    assert screen_of(written) == []


def test_a_failed_span_and_a_warning_stay_on_a_terminal():
    written = terminal_of(started(attic=4), failed(), Warned("slow\x1b[2J"), enriched(), END)
    assert screen_of(written) == [
        "failed  src/app.py:4-9 run  after 1 attempts: reply refused (parse): not JSON",
        "warning: slow�[2J",
    ]


def test_verbose_keeps_every_span_on_a_terminal():
    written = terminal_of(started(5, attic=4), enriched(), verbose=True)
    assert screen_of(written) == ["1/5 ok    src/app.py:4-9 run  7b  2.0 s"]


def test_a_run_without_work_draws_nothing():
    assert terminal_of(started(0, attic=1), RunFinished(RunReport(0, {}, 0, 0.0))) == ""


def test_a_run_that_ends_in_an_exception_gives_the_terminal_back():
    written = terminal_of(started(attic=1))  # RunFinished never comes
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l")
    assert screen_of(written) == []


def test_a_terminal_made_narrower_keeps_nothing_of_the_wrapped_lines():
    file = Terminal()
    console = Console(file=file, width=80, height=24, _environ=TERMINAL)
    screen = Screen(console, lambda canvas: [Text("x" * (canvas.width - 1))] * 3, period=3600.0)
    screen.start()
    deadline = time.monotonic() + 30
    while "x" not in file.getvalue() and time.monotonic() < deadline:
        time.sleep(0.001)
    console.width = 30
    wrapped = ["x" * 30, "x" * 30, "x" * 19] * 3
    begin = len(file.getvalue())
    screen.stop()
    assert screen_of(file.getvalue()[begin:], wrapped) == []


def test_a_terminal_that_goes_away_does_not_end_the_run():
    file = Terminal()
    console = Console(file=file, width=80, height=24, _environ=TERMINAL)
    with RunDisplay(console) as display:
        display(started(attic=1))
        file.gone = True
        display(failed())
        display(END)
        file.gone = False


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_terminal_that_goes_away_ends_the_drawing_without_a_traceback():
    file = Terminal()
    console = Console(file=file, width=80, height=24, _environ=TERMINAL)
    drawn_since = threading.Event()

    def draw(canvas):
        if file.gone:
            drawn_since.set()
        return [Text(str(time.monotonic_ns()))]

    screen = Screen(console, draw, period=0.001)
    screen.start()
    file.gone = True
    assert drawn_since.wait(30)
    screen.stop()
    file.gone = False


def test_without_colour_no_colour_is_sent():
    file = Terminal()
    console = Console(file=file, width=80, height=24, _environ=TERMINAL | {"NO_COLOR": "1"})
    with RunDisplay(console, clock=Clock()) as display:
        for event in (started(attic=4), HostRests("attic", 9, "x"), failed(), Stopping(1)):
            display(event)
    assert re.findall(r"\x1b\[(?:\d+;)*[349]\d(?:;\d+)*m", file.getvalue()) == []


def test_quiet_says_nothing_on_a_terminal():
    file = Terminal()
    console = Console(file=file, width=80, quiet=True, _environ=TERMINAL)
    before = sys.stdout
    with RunDisplay(console) as display:
        for event in (started(attic=1), failed(), Warned("x")):
            display(event)
        assert sys.stdout is before, "what others print would be swallowed too"
    assert file.getvalue() == ""


# -- on a log ---------------------------------------------------------------------------------


def test_a_log_gets_a_line_for_each_settled_span():
    assert log_of(started(12), enriched(), failed()) == [
        " 1/12 ok    src/app.py:4-9 run  7b  2.0 s",
        "failed  src/app.py:4-9 run  after 1 attempts: reply refused (parse): not JSON",
    ]


def test_every_tenth_span_a_log_says_the_pace():
    clock = Clock()
    file = io.StringIO()
    with RunDisplay(Console(file=file, width=80, highlight=False), clock=clock) as display:
        display(started(100))
        for number in range(20):
            clock.now += 6
            display(failed() if number == 9 else enriched())
    assert [line for line in file.getvalue().splitlines() if "left" in line] == [
        "9 done, 1 failed, 90 left, 9.0 spans/min, 9 min left",
        "19 done, 1 failed, 80 left, 9.5 spans/min, 8 min left",
    ]


def test_a_finished_run_has_no_pace_line():
    assert not any("left" in line for line in log_of(started(10), *[enriched()] * 10))


def test_a_log_says_once_that_a_host_rests_and_once_that_it_is_back():
    rests = HostRests("attic", 14, "connection refused")
    events = (rests, replace(rests, seconds=28), HostReturned("attic"), HostReturned("attic"))
    assert log_of(started(attic=1), *events) == [
        "attic rests for 14 s: connection refused",
        "attic answers again",
    ]


def test_a_log_says_that_a_host_rests_once_more():
    rests, back = HostRests("attic", 14, "refused"), HostReturned("attic")
    assert len(log_of(started(attic=1), rests, back, rests, back)) == 4


def test_a_log_says_once_that_the_run_stops():
    assert log_of(started(attic=1), Stopping(2), Stopping(1)) == [
        "stopping: 2 requests are being finished; Ctrl-C again to stop now"
    ]


def test_a_log_holds_no_terminal_codes_and_no_broken_lines():
    lines = log_of(started(), HostRests("a\x1b[2Jb", 9, "x\ny" * 99), Warned("\x1b[31m"))
    assert len(lines) == 2
    assert "\x1b" not in "".join(lines)


def test_a_file_that_takes_colour_is_still_a_log():
    file = io.StringIO()
    console = Console(file=file, width=80, force_terminal=True, _environ=TERMINAL)
    with RunDisplay(console) as display:
        display(started(attic=1))
        display(enriched())
    assert "1/100 ok" in file.getvalue()
    assert not re.search(r"\x1b\[[?0-9;]*[AKlh]", file.getvalue())


# -- the end ----------------------------------------------------------------------------------


def test_a_summary_of_a_plain_run_is_one_line():
    done = RunReport(5, {"parse": 2, "runtime": 1}, 4, 60.0)
    assert sum_up(done).plain == (
        "5 enriched, 3 failed (2 parse, 1 runtime), 4 left, 60 s, 5.0 spans/min"
    )


def test_a_summary_names_unfinished_spans():
    assert "57 left (3 unfinished), " in sum_up(RunReport(1, {}, 57, 9.0, unfinished=3)).plain


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (12, "12 failed in earlier runs and rest; --retry-failed tries them now"),
        (1, "1 failed in earlier runs and rests; --retry-failed tries it now"),
    ],
)
def test_a_summary_names_spans_that_rest(count, expected):
    assert expected in sum_up(RunReport(1, {}, 57, 9.0, resting=count)).plain.splitlines()


def test_a_summary_says_in_yellow_why_a_run_stopped():
    text = sum_up(RunReport(1, {}, 57, 9.0, stopped="no host\x1b answers"))
    assert text.plain.splitlines()[1:] == ["stopped: no host� answers"]
    assert str(text.spans[-1].style) == "yellow"


def test_a_summary_of_an_interrupted_run_says_how_to_go_on():
    text = sum_up(RunReport(1, {}, 57, 9.0, interrupted=True))
    assert text.plain.splitlines()[1:] == ["interrupted: run it again to go on from here"]


# -- text -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "long", "short"),
    [
        (0.4, "0 s", "0s"),
        (89, "89 s", "89s"),
        (720, "12 min", "12m"),
        (11100, "3 h 05 min", "3h05m"),
        (187200, "2 d 04 h", "2d04h"),
    ],
)
def test_durations_as_people_write_them(seconds, long, short):
    assert (format_duration(seconds), format_duration(seconds, short=True)) == (long, short)


@given(st.text())
def test_plain_text_holds_nothing_that_a_terminal_obeys(text):
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", make_plain(text))


@given(st.text())
def test_one_line_is_one_line(text):
    assert len(make_one_line(text).splitlines()) <= 1
