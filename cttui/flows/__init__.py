"""Flows as numpy columns: schema, store, selection, windows, groups."""
