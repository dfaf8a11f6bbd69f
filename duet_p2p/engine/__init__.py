"""Where torch runs: store, labels, executor, and the hosts that carry them."""
