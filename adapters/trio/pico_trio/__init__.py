"""Runs Pico machines on trio."""
