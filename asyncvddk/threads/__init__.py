"""The asyncio side of the threads that make the native calls, one for each connection."""
