"""The engine of plain JAX code, right on every device."""
