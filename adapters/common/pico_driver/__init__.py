"""The common part of the drivers of all runtimes: everything that does not depend on the loop."""
