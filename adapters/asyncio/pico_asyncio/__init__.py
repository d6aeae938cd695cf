"""Runs Pico machines on asyncio and uvloop."""
