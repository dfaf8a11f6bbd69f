"""The walk-through as a program: `duet demo`, or `scripts/demo` in the repository."""
