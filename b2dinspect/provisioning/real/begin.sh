# The guest that QEMU boots, after its settings (see guestscript.py): it gets ready. It reports on the console, one
# line for each thing, after the mark @@b2d: start STAGE, in TEXT, out TEXT, skip REASON, fail REASON, end STAGE, up.

PATH=/usr/sbin:/usr/bin
export PATH
for name in cat chmod chown dd find grep head ifconfig insmod ln mkdir mv poweroff readlink rm sed sleep stat sync tail tee tr whoami netstat ip; do
  [ -e /usr/bin/$name ] || busybox ln -s busybox /usr/bin/$name
done
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts && mount -t devpts devpts /dev/pts
for module in /modules/*; do insmod "$module" 2>/dev/null; done

tell() { echo "@@b2d $*"; }
start() { STAGE=$1; tell start "$1"; }
end() { sync; tell end $STAGE; }
wait_for() { for try in 1 2 3 4 5; do [ -e "$1" ] && break; sleep 1; done; }
power_off() { sync; poweroff -f; sleep 60; }
tell_partitions() {
  for place in /sys/block/vda/vda?; do
    [ -e "$place" ] || continue
    first=$(cat "$place/start")
    tell out "partition ${place#/sys/block/vda/vda}: sectors $first-$((first + $(cat "$place/size") - 1))"
  done
}

wait_for /dev/vda
ifconfig lo 127.0.0.1 up
ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up
busybox hostname "$NAME"
[ -z "$DOCKER" ] || { chmod 4755 /usr/bin/root-sh; [ -e /var/run ] || ln -s /run /var/run; }
DATA='' DISK='' TABLE='' FORMAT='' KEEP=''
