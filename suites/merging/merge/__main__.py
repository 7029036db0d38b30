"""`python -m suites.merging.merge`: the command `merge-checkpoints`."""

from suites.merging.merge.command import main

raise SystemExit(main())
