"""The SDK for programs that embed a machine: clients, listeners, streams and applications, the same on every runtime.

``hub`` is the driver's side: it takes the commands of ``pico_core.program``. The other modules are the program's side.
Nothing here decides anything: the machine does. Nothing here knows a loop: ``Runtime`` has what a loop fills in.
"""
