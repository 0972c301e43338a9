"""What a person sees: an index, a span, a run while it goes on."""
