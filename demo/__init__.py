"""Servers of ours that behave like the real remotes; nothing in the portal knows them."""
