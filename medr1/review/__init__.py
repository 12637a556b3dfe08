"""Review by clinicians: which answers they judge, in which order, and the store of judgements."""
