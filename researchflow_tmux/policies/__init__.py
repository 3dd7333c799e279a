"""Pure decisions: in what order, on which GPU, again or not."""
