"""Bytes and messages: pure functions and ``feed()`` objects, no Twisted, no sockets, no clock."""
