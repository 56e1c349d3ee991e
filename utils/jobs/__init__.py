"""The queue that wakes workers, and the workers."""

from utils.jobs.queue import register

__all__ = ["register"]
