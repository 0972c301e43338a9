"""From a repository to spans: which files are source, and what each of them defines."""
