# The first-boot script is one that somebody gave. It sees busybox for all that the generation has no program of its
# own for, and is run within a function: old shells let it say "local" anywhere.

start script
tell in "$SCRIPT, $(stat -c %s /script) bytes"
mkdir -p /busybox "/home/$USERNAME"
busybox --install -s /busybox
case $(head -n 1 /script) in *bash*) shell=bash;; *) shell=sh;; esac
if (PATH=$PATH:/busybox; $shell -c 'first_boot() { . /script; }; first_boot start') </dev/null 2>&1; then
  tell_partitions
else
  tell fail "$SCRIPT ended with status $?"
fi
end
