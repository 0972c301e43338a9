"""One run, from the work list to the last record.

Modules, each built on those before it: departures, gpu, writer, routing, stopping, workers,
attempts, job, lanes, health, flights, destinations, scheduler, measures, worklist, selection,
slots, failover, spread, patience, lease, report, parts, intake, settlement, loop.
"""
