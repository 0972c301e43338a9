"""The index file: opening it, writing to it, and what SQLite's errors mean to a user.

In reading order: `opening` makes or opens an index and finds out whether it is sound; before that,
`custody` asks whose files they are, `arrival` settles what has come to their place since, by what
`known` remembers and `presence` sees, and `look` examines a database as a stranger's, by the
`shape` its tables are to have. `migrations` makes an index of an earlier llmc one of this, `repair`
mends what another program has left of it; `replacing` puts what can be read of a damaged one in its
place. `watch` asks whether an open index is still the file that it was, `displaced` saves one that
is not. `writing` has the transactions that every change is made in, `trouble` turns errors into
words and advice, `reserve` keeps room on the disk for what is paid for. `handle` is an open index
as the rest of the store has it.

Modules, each built on those before it: custody, known, presence, trouble, watch, writing,
migrations, shape, look, repair, arrival, reserve, displaced, replacing, opening, handle.
"""
