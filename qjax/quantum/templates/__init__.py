"""Circuits that are ready made, and first values of their parameters."""
