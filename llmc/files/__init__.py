"""Files and folders: those that nobody else may write to, locks that die with their process.

Modules, each built on those before it: folders, advice, locks, tilde, home, ignorefile.
"""
