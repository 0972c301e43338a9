"""What a run goes by, and whom it may ask; the only part that reads the environment.

Modules, each built on those before it: documents, gateways, hosts, providers, chains, files,
presets, privacy, variables, needs, trust, config, starter, target, load_options, targets.
"""
