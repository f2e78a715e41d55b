"""Experiments, one a file: `get_config()` returns a ConfigDict. Data only: neither qjax nor jax is imported here."""
