"""Who the two parties are: keys, key files, known peers."""
