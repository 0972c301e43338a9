"""What comes from others, made safe: keys and secrets blotted out, control characters shown.

Modules, each built on those before it: secrets, text, traces, keys, addresses.
"""
