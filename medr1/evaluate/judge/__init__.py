"""A model that judges open answers which the rules call wrong, beside the rules and never instead.

`selection` chooses the answers, `medr1.judge` asks the judge, and `result` computes the part
`judge` of summary.json.
"""
