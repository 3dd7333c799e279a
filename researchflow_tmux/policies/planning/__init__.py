"""Which waiting job starts next when there is more work than room. Pure: time is what the caller says.

One idea to a module, in the order in which to read them: `estimates` (how long a job may take), `orders` (the formula
of each policy), `usage` (fair shares), `urgency` (deadlines), `classes` (the waiting jobs, sorted), `floor` (what is
free, and when the rest will be), `walk` (the start loop that puts them together).

Times are seconds on the caller's clock (`_s`): they are compared and subtracted, and never shown.
"""
