"""Pusher: publishes a model that every gate has passed."""
