"""The ledger: one row an exchange, written off the request's path, and what is asked of the rows later."""
