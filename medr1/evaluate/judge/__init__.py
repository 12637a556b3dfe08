"""A model that judges open answers which the rules call wrong, beside the rules and never instead.

`selection` chooses the answers, `asking` asks the judge, `replies` remembers what it said, and
`result` computes the part `judge` of summary.json.
"""
