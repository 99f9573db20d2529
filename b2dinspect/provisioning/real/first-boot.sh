# The first-boot script: what the guests' own scripts do, by the profile's settings.

first_ext4() {
  for part in /dev/vda?; do
    case $(blkid -p -o value -s TYPE "$part") in ext4|btrfs) echo "$part"; break;; esac
  done
}
fdisk_sessions() {
  for answers in "$@"; do
    printf "$answers" | fdisk $DISK || return
  done
}

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
elif fdisk_sessions $FDISK >/fdisk.log 2>&1 && wait_for ${DISK}1 && [ -e ${DISK}1 ]; then
  tell_partitions
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
    OURS=var/lib/boot2docker
    cd "$MOUNT" || power_off
    if [ -n "$OLD" ] && [ -d "$OLD" ]; then
      OURS=$OLD
      mkdir -p "$OLD/etc"
    else
      mkdir -p $MAKES
    fi
    [ -z "$OPEN" ] || { rm -rf $OPEN; mkdir -m 1777 $OPEN; }
    cd /
    ln -s "$MOUNT/$OURS" /var/lib/boot2docker
    [ -z "$DOCKER" ] || [ ! -e "$MOUNT/var/lib/docker" ] || ln -s "$MOUNT/var/lib/docker" /var/lib/docker
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
