"""Model families: what differs between architectures, one file for each family."""
