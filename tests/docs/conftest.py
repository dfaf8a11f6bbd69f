"""The signalling server of the end-to-end tests."""

from tests.e2e.conftest import home, server

__all__ = ["home", "server"]
