"""Kills, damages, floods and misleads the product, and counts what is lost."""
