"""Plain documents in; tables, CSV and pictures out."""
