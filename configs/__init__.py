"""Experiments, one a file: `get_config()` returns a ConfigDict. Data only: each imports no more than other ones."""
