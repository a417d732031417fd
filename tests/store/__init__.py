"""The store under damage, under many processes at once, and over a long time."""
