"""The index: what is kept of a repository, who works on it, and where it came from."""
