"""The binding to ``libvixDiskLib.so``: the only layer that knows ctypes, C structures and sectors.

``_constants`` and ``_structs`` say what ``vixDiskLib.h`` says, ``_functions`` is the table of its functions,
``_marshal`` and ``_connect_params`` turn models into structures and back, ``_memory`` lends Python's memory
to C, ``_loader`` finds and loads a library, ``_core`` drives the C threads that make the calls (``core/*.c``),
``_log`` brings the library's messages to the log.

Imported by ``asyncvddk.threads._worker`` and the modules of the disk layer above it; by users never. Imports only
:mod:`asyncvddk.errors`, :mod:`asyncvddk.models` and other modules of values.
"""
