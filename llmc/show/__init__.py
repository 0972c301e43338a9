"""What a person sees: an index, a span, a run while it goes on.

Modules, each built on those before it: counting, audit, facts, claims, display, remains, progress,
absence, change, outcome, places, why.
"""
