"""One question on the terminal, answered by one key."""

from __future__ import annotations

import os
import sys
import termios
import tty


def is_possible() -> bool:
    """Tell whether somebody sits at the terminal: they see the question, and can answer it."""
    try:
        return (
            sys.stdin.isatty()
            and sys.stderr.isatty()
            and os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
        )
    except (AttributeError, OSError, ValueError):  # no such stream, or a closed one
        return False


def ask(question: str) -> bool:
    """Ask on standard error; only the key y or Y, pressed after it was asked, is a yes."""
    terminal = sys.stdin.fileno()
    before, answer = termios.tcgetattr(terminal), ""
    try:
        tty.setcbreak(terminal, termios.TCSAFLUSH)  # what was typed ahead answers nothing
        sys.stderr.write(f"{question} [y/N] ")
        sys.stderr.flush()
        answer = "yes" if os.read(terminal, 1) in (b"y", b"Y") else "no"
    finally:
        termios.tcsetattr(terminal, termios.TCSAFLUSH, before)
        sys.stderr.write(f"{answer}\n")
    return answer == "yes"
