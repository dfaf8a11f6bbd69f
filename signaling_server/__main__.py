"""``python -m signaling_server``."""

from signaling_server.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
