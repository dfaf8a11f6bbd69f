"""What may be called: the reviewed names, their types, values and shapes."""
