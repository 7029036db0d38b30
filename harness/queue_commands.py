"""What waits in a cluster's queue: a part of `harness status`, and `harness cancel`."""

from harness.errors import HarnessError
from harness.executors import queue
from harness.store import Store, location
from harness.terminal import err, out


def tell(store: Store) -> None:
    """Prints how many trials and artifacts are in a queue, by state; nothing without any."""
    try:
        found = queue.counted(store.cache)
    except HarnessError as error:  # the records can be read where there is no queue
        err.print(f"the queue cannot be asked: {error}", markup=False)
        return
    for (cluster, state), count in sorted(found.items()):
        out.print(f"{cluster}: {count} {state}")


def cancel() -> None:
    """Takes everything of this cache out of the cluster's queue; what runs saves first."""
    cache = location()
    count = queue.cancel(queue.noted(cache))
    out.print(f"{count} jobs of {cache} cancelled" if count else f"no job of {cache} is queued")
