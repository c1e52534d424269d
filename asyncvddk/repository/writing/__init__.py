"""A backup under way: its disks, what it knows to be stored, and its side of collection."""
