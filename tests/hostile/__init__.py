"""What strangers may send: decoders under fuzzing, attacks on real processes, and what the documents say."""
