"""The bodies of commands that combine several rooms."""
