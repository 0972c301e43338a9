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


def agreed(question: str) -> bool:
    """Ask on standard error; only the key y or Y, pressed after it was asked, is a yes."""
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    try:
        tty.setcbreak(terminal)  # this also throws away what was typed ahead
        sys.stderr.write(f"{question} [y/N] ")
        sys.stderr.flush()
        termios.tcflush(terminal, termios.TCIFLUSH)
        yes = os.read(terminal, 1) in (b"y", b"Y")
    finally:
        termios.tcsetattr(terminal, termios.TCSAFLUSH, before)
        sys.stderr.write("\n")
    sys.stderr.write("yes\n" if yes else "no\n")
    return yes
