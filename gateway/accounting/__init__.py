"""Accounting: what became of each item, per contact and day, and what home bases confirm of it."""
