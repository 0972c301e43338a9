"""The programs that llmc starts, git first among them."""
