"""Who is known and who is reachable; knows nothing of the servers that ask."""
