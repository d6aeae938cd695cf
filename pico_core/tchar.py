"""The characters of a token, of which names of fields and methods are made (RFC 9110 section 5.6.2)."""

TCHAR = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
"""A regular expression for one of them."""
