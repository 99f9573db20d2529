"""Machine directories: the folders in which docker-machine, Docker Toolbox and minikube keep their machines.

``places`` finds them by name, ``folder`` reads one, and each further module one kind of file in it. A machine
directory is the owner's, but it may be a copy from somebody else's disk: nothing in it is followed out of it.
"""
