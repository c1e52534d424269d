"""Places that hold objects (a local folder, S3 and its like, memory), and the vault: one of them with its keys."""
