"""Reading result files in any known format, chunk by chunk, into predictions.

`formats` cuts a file into chunks, `places` a chunk into entries with their place in the file,
`lmms` and `entries` turn an entry into a prediction, and `matching` completes it from a data set.
"""
