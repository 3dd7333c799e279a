"""What can go wrong with stored results.

StoreError
└── ResultsError
    ├── EntryError       (also a ValueError)    no such entry, several, one that may not be overwritten
    ├── QueryError       (also a ValueError)    a query that cannot be understood
    ├── NotStorable      (also a ValueError)    a value that JSON cannot hold
    ├── IndexDamaged     (also a ValueError)    neither the index nor its backup can be read
    ├── StorageBusy      (also a RuntimeError)  another process keeps the lock
    └── StorageUnusable                         the directory cannot be written, or not be locked
"""

from __future__ import annotations

from researchflow_tmux.domain.errors import StoreError


class ResultsError(StoreError):
    """Stored results cannot be read or changed; nothing was changed."""


class EntryError(ResultsError, ValueError):
    """The entry that was asked for is not there, not the only one, or may not be changed like this."""


class QueryError(ResultsError, ValueError):
    """The query cannot be understood."""


class NotStorable(ResultsError, ValueError):  # noqa: N818 - it reads as the fact it states
    """A value that JSON cannot hold, so that it could not be read back."""


class IndexDamaged(ResultsError, ValueError):  # noqa: N818 - it reads as the fact it states
    """Neither the index nor its backup can be read. Nothing is touched until a person has decided."""


class StorageBusy(ResultsError, RuntimeError):  # noqa: N818 - it reads as the fact it states
    """Another process kept the lock for too long."""


class StorageUnusable(ResultsError):  # noqa: N818 - it reads as the fact it states
    """The directory cannot be written, or its file system cannot lock."""
