"""One file a peer: `forms(case)` says in which ways it can run a case, `versions()` what is installed."""
