"""Tests, one folder for each part of the package; `integration` runs real processes."""
