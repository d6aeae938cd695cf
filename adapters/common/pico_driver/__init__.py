"""What the drivers of all runtimes share: everything that does not depend on the loop."""
