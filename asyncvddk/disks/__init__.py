"""The disk layer: the library, connections and disks as users see them; ``asyncvddk`` has the public names."""
