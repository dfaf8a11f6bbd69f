"""SCTP over DTLS, fast; docs/transport.md says how and why."""
