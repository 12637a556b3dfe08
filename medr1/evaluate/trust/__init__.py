"""How far an answer is to be trusted: how sure, how steady, and when to ask a clinician."""
