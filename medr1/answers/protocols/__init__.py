"""The rules of other projects, for comparisons with their published figures."""
