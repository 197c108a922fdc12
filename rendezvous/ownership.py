"""Files that root makes for the user that the process goes on as."""

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def made_for(user: int | None, group: int | None, paths: Collection[Path]) -> Iterator[None]:
    """What is made at `paths` meanwhile belongs to `user` and `group`, each unless it is None.

    What was there before stays whose it was.
    """
    missing = [path for path in paths if not os.path.lexists(path)]
    yield
    for path in missing:
        if os.path.lexists(path):
            os.chown(path, -1 if user is None else user, -1 if group is None else group, follow_symlinks=False)
