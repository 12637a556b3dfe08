"""Charts, as SVG points or PNG."""
