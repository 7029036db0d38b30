# Thin, over tox: `python3 -m pip install tox` is all that it needs.
.PHONY: check test smoke chaos report

check test smoke chaos:
	tox run -e $@

report:
	harness report
	python docs/headlines.py
