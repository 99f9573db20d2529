#!/bin/sh
# busybox's fdisk as it was to 1.29: it reckons in cylinders, and an M is a million bytes. Later ones have to be told:
# the units by the command u, a size as a number of cylinders.

case $1 in -*) exec busybox fdisk "$@";; esac
busybox fdisk -l "$1" >/fdisk.list 2>&1
grep -q 'Units: sectors' /fdisk.list || exec busybox fdisk "$@"
heads=$(sed -n 's/.* \([0-9]*\) heads.*/\1/p' /fdisk.list)
sectors=$(sed -n 's/.* \([0-9]*\) sectors\/track.*/\1/p' /fdisk.list)
cylinder=$((heads * sectors * 512))
{
  echo u
  while read -r answer; do
    case $answer in
      +*M) size=${answer#+}; echo "+$(((${size%M} * 1000000 + cylinder / 2) / cylinder))";;
      *) echo "$answer";;
    esac
  done
} | busybox fdisk "$@"
