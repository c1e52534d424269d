"""Imported first: says what to install where the extra ``backup`` is missing."""

try:
    import blake3  # noqa: F401
    import cryptography  # noqa: F401
    import msgspec  # noqa: F401
    import numpy as np  # noqa: F401
    import obstore  # noqa: F401
    import zstandard  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"asyncvddk.repository needs {error.name}: pip install 'asyncvddk[backup]'", name=error.name
    ) from error
