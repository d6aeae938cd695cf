"""Hostile and heavy loads against real processes of Pico, and what honest clients notice of them."""
