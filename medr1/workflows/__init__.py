"""The bodies of commands that use several other packages."""
