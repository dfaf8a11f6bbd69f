"""The shells that pump transport and protocol, and the one bridge between threads and loop."""
