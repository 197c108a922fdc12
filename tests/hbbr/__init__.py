"""Tests of the relay server."""
