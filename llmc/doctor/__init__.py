"""`llmc doctor`: would a run work here, and if not, what is in its way?

Modules, each built on those before it: findings, lookup, targets, configuration, machine, trial,
gateway, local, ollama, logs, examination.
"""
