"""Configuration: text in, checked structs out."""
