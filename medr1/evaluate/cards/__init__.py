"""Cards: what reproduces the accuracy of a results file, what differs, and boards of them."""
