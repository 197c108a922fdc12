"""The benchmark, ``python -m bench``: real servers measured against the limit of the machine."""
