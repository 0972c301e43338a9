"""Home of the established import path `tools.rag.enrichment_backends`."""
