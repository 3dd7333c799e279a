"""Task tables (.csv, .tsv, .xlsx, .json): a row is a task, and how often it ran is written back into it.

`source` drives everything; `table_file` knows one table; `csv_grid`, `xlsx_grid` and `json_grid` read and patch one
format each; `columns`, `rows`, `options`, `commands` and `counts` say what the cells mean.
"""
