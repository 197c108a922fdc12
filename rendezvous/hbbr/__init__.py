"""The relay server: service.py listens, pairing.py tells who waits for whom."""
