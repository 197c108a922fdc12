"""A real server process, and clients that know nothing of its code."""
