"""The real implementations of the ports, and what else touches the machine."""
