"""Tries kills, damage, malformed input and overload, and counts what is lost."""
