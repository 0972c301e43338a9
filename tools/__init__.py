"""Home of the established import path `tools.rag`."""
