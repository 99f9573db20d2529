#!/bin/sh
# What boot2docker's /etc/init.d/docker does: source the profile, start dockerd with TLS as that says. The guest has no
# bridge and no iptables, and its root is a RAM disk. Without a profile nothing is started.

PATH=/usr/sbin:/usr/bin HOME=/root
export PATH HOME
home=/var/lib/boot2docker
listens() { grep -q ':0948 0*:0000 0A' /proc/net/tcp /proc/net/tcp6; }

start() {
  [ -f $home/profile ] || exit 0
  . $home/profile
  mkdir -p $home/log /run
  [ -d /sys/fs/cgroup/system ] || mount -t cgroup2 cgroup2 /sys/fs/cgroup 2>/dev/null
  tls=
  [ "${DOCKER_TLS:-auto}" = no ] || tls="--tlsverify --tlscacert=$CACERT --tlscert=$SERVERCERT --tlskey=$SERVERKEY"
  DOCKER_RAMDISK=true setsid dockerd --pidfile /run/docker.pid --exec-root /run/docker \
    --data-root "$(busybox readlink -f /var/lib/docker)" --storage-driver "${DOCKER_STORAGE:-overlay2}" \
    --bridge=none --iptables=false --ip-forward=false --ip-masq=false \
    -H unix:///run/docker.sock $DOCKER_HOST $EXTRA_ARGS $tls </dev/null >>$home/log/docker.log 2>&1 &
  tries=0
  until listens; do
    tries=$((tries + 1))
    [ $tries -lt 200 ] && sleep 1 || exit 1
  done
}

stop() {
  [ -f /run/docker.pid ] || return 0
  kill "$(cat /run/docker.pid)"
  for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    [ -f /run/docker.pid ] || break
    sleep 1
  done
}

case $1 in
  start|stop) "$1";;
  *) exit 2;;
esac
