"""The table that says what native code does to the states."""
