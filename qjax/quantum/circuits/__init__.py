"""What a person writes down: angles, gates, operations, circuits, and views of a circuit."""
