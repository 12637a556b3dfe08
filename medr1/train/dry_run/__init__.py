"""What a run will do, and what is refused before it starts."""
