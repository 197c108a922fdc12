"""Very many simulated peers beside real servers: what is lost, how long answers take, what grows."""
