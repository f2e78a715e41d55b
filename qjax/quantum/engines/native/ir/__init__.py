"""How native code is written, compiled and called by XLA."""
