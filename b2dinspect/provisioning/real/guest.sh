# The guest that QEMU boots, after its settings (see guestscript.py). It reports on the console, one line for
# each thing, after the mark @@b2d: start STAGE, in TEXT, out TEXT, skip REASON, fail REASON, end STAGE, up.

PATH=/usr/sbin:/usr/bin
export PATH
for name in cat chown dd find grep head ifconfig insmod ln mkdir mv poweroff rm sleep stat sync tr whoami; do
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
first_ext4() {
  for part in /dev/vda?; do
    case $(blkid -p -o value -s TYPE "$part") in ext4|btrfs) echo "$part"; break;; esac
  done
}

wait_for /dev/vda
ifconfig lo 127.0.0.1 up
ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up
busybox hostname "$NAME"
DATA='' DISK='' TABLE='' FORMAT='' KEEP=''

start find-label
if [ "$FAULT" = old-iso ]; then
  tell fail "this ISO knows nothing of userdata: it looks for no disk at all"
else
  DATA=$(blkid -o device -l -t LABEL="$LABEL")
  if [ -n "$DATA" ]; then
    tell out "$DATA carries the label $LABEL"
  else
    tell out "no partition is labelled $LABEL"
    DISK=/dev/vda
  fi
fi
end

start choose-disk
if [ -n "$DATA" ]; then
  tell skip "$DATA carries the label $LABEL"
elif [ -z "$DISK" ]; then
  tell skip "this guest looks for no disk"
else
  TABLE=$(blkid -p -o value -s PTTYPE $DISK)
  tell out "the only disk, $(cat /sys/block/vda/size) sectors, table: ${TABLE:-none}"
fi
end

start magic
if [ -z "$DISK" ]; then
  tell skip "not needed"
else
  HEAD=$(dd if=$DISK bs=1 count=${#MAGIC} 2>/dev/null | tr -d '\000')
  if [ "$HEAD" = "$MAGIC" ] && { [ -z "$TABLE" ] || [ "$PROFILE" = autoformat ]; }; then
    FORMAT=yes KEEP=yes
    tell out "equal to the marker"
  elif [ "$PROFILE" = autoformat ] && [ -z "$(blkid -p $DISK)" ]; then
    FORMAT=yes
    tell fail "no marker, but blkid knows nothing about the disk: FORMATS it"
  else
    [ "$PROFILE" = autoformat ] || DATA=$(first_ext4)
    if [ -n "$DATA" ]; then
      tell out "falls back to $DATA"
    else
      tell fail "no label and no marker: the disk is left alone"
    fi
  fi
fi
end

start save
if [ -z "$KEEP" ]; then
  tell skip "no marker, nothing worth saving"
else
  dd if=$DISK of=/userdata.tar bs=1 count="$GUEST_KEEPS" 2>/dev/null
  tell out "/userdata.tar in RAM, $(stat -c %s /userdata.tar) bytes"
fi
end

start partition
if [ -z "$FORMAT" ]; then
  tell skip "nothing is formatted"
elif printf "$ANSWERS" | fdisk $DISK >/fdisk.log 2>&1 && wait_for ${DISK}1 && [ -e ${DISK}1 ]; then
  for part in ${DISK}?; do
    place=/sys/block/vda/${part#/dev/}
    first=$(cat "$place/start")
    tell out "partition ${part#$DISK}: sectors $first-$((first + $(cat "$place/size") - 1))"
  done
else
  tell fail "fdisk: $(grep -i 'range\|no free\|fail\|small' /fdisk.log | head -n 1)"
  FORMAT=
fi
end

start swap
if [ -z "$SWAP" ]; then
  tell skip "this guest makes no swap"
elif [ -z "$FORMAT" ]; then
  tell skip "nothing is formatted"
elif $SWAP ${DISK}2 >/dev/null 2>&1; then
  tell out "$(blkid -p -o value -s TYPE ${DISK}2) on ${DISK}2"
else
  tell fail "mkswap failed"
fi
end

start mkfs
if [ -z "$FORMAT" ]; then
  tell skip "nothing is formatted"
elif [ "$FAULT" = mkfs-skipped ]; then
  tell fail "mkfs.ext4 does not run"
elif $MKFS ${DISK}1 >/mkfs.log 2>&1 </dev/null; then
  tell out "ext4 on ${DISK}1"
else
  tell fail "mkfs.ext4: $(head -n 1 /mkfs.log)"
fi
if [ "$FAULT" = crash-before-move ] && [ -n "$FORMAT" ]; then
  tell fail "the power fails"
  end
  power_off
fi
end

start fill
[ -z "$FORMAT" ] || DATA=$(blkid -o device -l -t LABEL="$LABEL")
if [ -n "$DATA" ]; then
  MOUNT=/mnt/${DATA#/dev/}
  mkdir -p "$MOUNT"
  if mount -t ext4 "$DATA" "$MOUNT"; then
    [ -z "$FORMAT" ] || (cd "$MOUNT" && mkdir -p $MAKES)
    [ ! -e "$MOUNT/var/lib/boot2docker" ] || ln -s "$MOUNT/var/lib/boot2docker" /var/lib/boot2docker
    [ ! -e /userdata.tar ] || mv /userdata.tar /var/lib/boot2docker/
    tell out "$DATA mounted on $MOUNT"
  else
    tell fail "$DATA cannot be mounted"
  fi
elif [ -n "$FORMAT" ]; then
  tell fail "unable to find a partition with the appropriate label"
else
  tell skip "there is no data partition"
fi
end

start unpack
HOME=/home/$USERNAME
mkdir -p "$HOME"
if [ -e "/$USERDATA" ]; then
  tell in "/$USERDATA, $(stat -c %s "/$USERDATA") bytes"
  tar xf "/$USERDATA" -C "$HOME" >/tar.log 2>&1
  rm -f "$HOME/$MAGIC"
  head -n 1 /tar.log | while read -r line; do tell out "$line"; done
else
  tell fail "no /$USERDATA: the home directory stays empty"
fi
chown -R "$OWNER" "$HOME"
(cd "$HOME" && find . -mindepth 1 -exec stat -c '%a %n %U:%G' {} ';') | while read -r mode name owner; do
  tell out "0$mode ${name#./}  $owner"
done
end

start sshd
/usr/sbin/sshd -e -D -f /etc/ssh/sshd_config &
for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30; do
  grep -q ':0016 00000000:0000 0A' /proc/net/tcp && break
  sleep 1
done
tell out "port 22"
end
tell up
while read -r line; do
  case $line in
    poweroff)
      [ -z "$MOUNT" ] || umount "$MOUNT"
      power_off;;
  esac
done
