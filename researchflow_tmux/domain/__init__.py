"""The words of the field as frozen types: no I/O, no clock, no randomness."""
