"""Modelry: self-hosted AI models as a service."""

__version__ = "0.1.0"
