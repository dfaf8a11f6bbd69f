"""What both sides hold in their hands: notes, Python wrappers, modules."""
