# After the first-boot script: unpack the key, start sshd, and wait to be switched off.

start unpack
HOME=/home/$USERNAME
mkdir -p "$HOME"
if [ -e "$HOME/.ssh" ]; then
  tell in "/$USERDATA: the script has unpacked it"
elif [ -e "/$USERDATA" ]; then
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
if [ -n "$DOCKER" ]; then
  start daemon
  if [ ! -e /var/lib/boot2docker/profile ]; then
    tell skip "no profile yet: the real one would make certificates of its own"
  else
    [ ! -e /var/lib/boot2docker/etc/hostname ] || busybox hostname "$(cat /var/lib/boot2docker/etc/hostname)"
    tell in "/var/lib/boot2docker/profile and the certificates beside it; hostname $(busybox hostname)"
    if /etc/init.d/docker start; then
      tell out "port 2376"
    else
      tell fail "dockerd does not come up: $(tail -n 1 /var/lib/boot2docker/log/docker.log)"
    fi
  fi
  end
fi
tell up
while read -r line; do
  case $line in
    poweroff)
      [ -z "$DOCKER" ] || /etc/init.d/docker stop
      umount -a -t ext4
      power_off;;
  esac
done
