"""Marrow-Find's rooms; the arrows between them are drawn in docs and held by a test."""

__version__ = "0.1.0"
