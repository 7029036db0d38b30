# Thin, over tox: `python3 -m pip install tox` is all that it needs.
.PHONY: check test smoke report

check test smoke:
	tox run -e $@

report:
	harness report
	python docs/headlines.py
