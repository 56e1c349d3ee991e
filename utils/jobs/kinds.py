"""Every module that can do work for later, imported so that it registers its kinds.

A worker does the kinds that are registered in it and leaves the others in the queue.
"""

from utils.workflow import read, synthetic

__all__ = ["read", "synthetic"]
