"""State machines without I/O: pairing, window, connection."""
