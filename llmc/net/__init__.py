"""HTTP that ends in time, and what an address says of where it leads.

Modules, each built on those before it: places, deadlines, wire, routes, connections, exchange,
turns, client, probe.
"""
