"""qjax: language models with quantum heads, trained, controlled and exported in JAX."""

__version__ = "0.1.0"
