"""A run while it goes on, and at its end.

Modules, each built on those before it: pace, tally, rows, lines, panel, screen, display.
"""
