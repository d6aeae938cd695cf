"""The rows of limits that have no key, as ``fixed_limits`` reads them."""
