"""What several workspaces of a machine share: whose use counts, and who yields to whom. Pure."""
