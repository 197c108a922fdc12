"""The WebSocket layer against RFC 6455 over real TCP: cases numbered as in the Autobahn test suite."""
