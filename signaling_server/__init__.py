"""The signalling server: introduces two parties, trusted with nothing."""
