"""One run, from the work list to the last record.

Modules, each built on those before it: routing, measures, job, sources, by_rule, lanes, callees,
worklist, health, scheduler, failover, spread, stopping, gpu, attempts, flights, workers, stock,
concurrency, trial, slots, writer, parts, lease, patience, report, intake, settlement, loop,
destinations, selection, departures, why.
"""
