"""What a run goes by, and whom it may ask; the only part that reads the environment.

Modules, each built on those before it: documents, addresses, gateways, hosts, providers, chains,
files, presets, privacy, flags, groups, variables, network, catalogue, needs, trust, environment,
config, starter, keys, loading, target, load_options, targets.
"""
