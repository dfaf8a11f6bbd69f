"""Who the two parties are: keys, key files, known peers; and whose a connection is."""
