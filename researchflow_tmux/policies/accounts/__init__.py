"""Accounts of projects and users: how much they may have at a time, and use in a period. Pure."""
