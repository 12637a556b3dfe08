"""Review by clinicians: which answers they judge, the page in the browser, and the store."""
