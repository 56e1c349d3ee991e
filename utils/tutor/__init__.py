"""A tutor on marrow cells that answers from its own passages, cites them, and knows its limits."""
