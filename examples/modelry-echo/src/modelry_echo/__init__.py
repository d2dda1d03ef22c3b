"""A runtime for Modelry that gives back what it is asked: an example to copy."""
