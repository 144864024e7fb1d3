"""Reads the files of a run folder, which may come from anybody: bounded, and never a traceback.

`files` opens files, `json_file` and `npz` decode them, and `names` checks what a file names.
`run_folder` and `metrics_file` hold the fields of each file.
"""
