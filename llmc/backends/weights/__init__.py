"""The files of the models that run in this process: fetched, verified, kept once for a user.

Modules, each built on those before it: watching, disk, joining, downloads, packages, publisher,
fetching.
"""
