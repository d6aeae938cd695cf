"""Version 0 of the gossip wire: ``records`` to bytes (``writing``) and back (``reading``), byte for byte as Piko's.

Every message starts with two bytes, type and version. Msgpack values follow one after the other, to the end of the
datagram (UDP), or as many as the type of message has (TCP). Piko writes neither the ``bin`` nor the ``str8`` type, so
the packer is our own. Readers accept whatever msgpack allows: any order of keys, unknown and missing keys, integers of
any width, and ``nil`` for an empty list.
"""
