"""How long jobs take: from what their like took before, and from how far they are. Pure."""
