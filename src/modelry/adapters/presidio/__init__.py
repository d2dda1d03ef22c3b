"""Presidio as one more recogniser of personal data, for names of people and places above all.

Owns: which of its recognisers are asked, how sure they must be, the language pipeline.
Does not own: what we recognise ourselves, and what is put in the place (services.privacy).
"""
