"""One run, from the work list to the last record.

Modules, each built on those before it: departures, gpu, journal, routing, stopping, workers,
attempts, job, lanes, calls, destinations, scheduler, worklist, selection, traffic, loop.
"""
