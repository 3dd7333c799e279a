"""Text job files: one command a line, with marks before it that show how its job stands.

From the bottom up: `lines` (what a line is, and how its mark is changed), `options` (`#@` lines), `notes` and
`matching` (which job a line is, after any edit), `verdicts` (what a mark, our note of it and the job say together),
`drafts`, `job_file` (one file), `archive`, and `source` (all of them behind the port).
"""
