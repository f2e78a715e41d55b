"""Native code of a CPU."""
