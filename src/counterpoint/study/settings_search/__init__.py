"""A search over one method's settings: which matter, what they reached, and what earlier searches foretell of other data."""
