"""Review by clinicians: sampled cases, the page in the browser, the store, and the summary."""
