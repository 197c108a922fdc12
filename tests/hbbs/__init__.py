"""Tests of the ID server: its real protocol classes over memory transports."""
