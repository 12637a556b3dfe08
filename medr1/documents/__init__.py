"""The types of the JSON documents that the commands write and read."""
