"""Starts probes and speaks frames with them. Needs no privilege."""
