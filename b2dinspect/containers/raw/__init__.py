"""Raw images: the file is the disk, byte for byte.

Source: minikube's kvm2, hyperkit, vfkit and krunkit drivers write their disks so (``NAME.rawdisk``,
``disk.img``); a block device is one too.
"""
