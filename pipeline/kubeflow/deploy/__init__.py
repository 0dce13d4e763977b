"""Uploads, starts and follows the compiled pipeline."""
