"""What travels: the closed set of values, the messages, the frames."""
