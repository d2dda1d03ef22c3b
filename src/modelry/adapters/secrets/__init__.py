"""Secrets that the server makes for itself and keeps in files.

Owns: making them once, their file modes.
Does not own: what they are for.
"""
