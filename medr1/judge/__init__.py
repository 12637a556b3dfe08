"""A model that judges open answers: its prompt, the requests to its server, and its replies.

`medr1 eval` asks it beside the rules (`evaluate/judge`), and the reward `judge` in training.
"""
