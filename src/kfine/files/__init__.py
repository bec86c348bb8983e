"""Files and folders on disk: atomic writes, locks, staging, names and permissions."""
