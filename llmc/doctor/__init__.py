"""`llmc doctor`: would a run work here, and if not, what is in its way?"""
