"""The forwarder as a machine."""
