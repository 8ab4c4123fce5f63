"""examples/flights."""
