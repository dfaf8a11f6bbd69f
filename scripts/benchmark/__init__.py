"""What `scripts/bench` runs: a file per quantity, all in one run on one machine."""
