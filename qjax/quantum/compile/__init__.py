"""From a circuit to stages that an engine runs."""
