"""qjax: language models with quantum heads, trained, controlled and exported in JAX."""

from qjax.installation import check_alone

__version__ = "0.1.0"

check_alone()
