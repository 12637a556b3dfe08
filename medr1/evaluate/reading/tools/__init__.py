"""What other tools write: each module turns the entries of one tool into ones that `entries` reads.

`recognition` of a single entry is in `tool_entries`. `inspect_log` and `easyr1` read whole files.
"""
