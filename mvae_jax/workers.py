"""Functions called in processes of their own, which end with the process that started them."""

import os
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import joblib

from mvae_jax import terminal

CHECK_SECONDS = 0.5  # between two looks for the parent


def run(function: Callable[..., Any], calls: Iterable[tuple], jobs: int) -> Iterator[Any]:
    """Yield what the function returns for each call's arguments, in the order in which they finish.

    jobs: processes, which share the cores' threads between them; one alone is this process
    """
    # What an interrupted command leaves undone, it says itself.
    warnings.filterwarnings("ignore", "[0-9]+ tasks which were still being processed", UserWarning)
    threads = max(1, joblib.cpu_count() // jobs)
    with joblib.parallel_config(
        "loky",
        n_jobs=jobs,
        inner_max_num_threads=threads,
        initializer=_follow,
        initargs=(os.getpid(),),
    ):
        with terminal.starting_processes():
            results = joblib.Parallel(return_as="generator_unordered")(
                joblib.delayed(function)(*call) for call in calls
            )
        yield from results


def _follow(parent: int) -> None:
    """End this process soon after its parent: loky's workers outlive a killed one by minutes."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(CHECK_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
