"""Several runs on the same items."""
