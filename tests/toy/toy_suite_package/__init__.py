"""Suites of a package that is not the harness's own, found through its entry points."""
