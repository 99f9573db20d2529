"""What container engines left on a disk: containers, images, volumes and logs, read from their own files.

A *data-root* is the directory in which an engine keeps all of it, ``/var/lib/docker`` by default. Whatever
wrote it, the same facts come out: see ``facts``. ``roots`` finds data-roots, ``contents`` reads one.
"""
