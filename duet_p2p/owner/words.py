"""`objects.words` under the name that it had; both sides clean what the other one wrote."""

from duet_p2p.objects.words import clean_line, clean_text

__all__ = ["clean_line", "clean_text"]
