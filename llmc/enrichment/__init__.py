"""What is asked of a model, and what is accepted of its reply."""
