"""Comparisons and limits that anyone can measure again, each with one command; see README.md."""
