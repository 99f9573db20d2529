"""One answer about many disks: each inspected and diagnosed by itself, a record each, then the questions.

subjects   what there is below folders or a URL: machine directories, images
record     one of them -> its record, plain data
workers    processes of this machine; one that takes too long, or dies, costs its own record
cluster    the same on a Dask cluster
store      records in a file, in the order of the subjects; taken up again where they stopped
summary    the questions across all records
"""
