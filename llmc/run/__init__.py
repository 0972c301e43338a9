"""One run, from the work list to the last record."""
