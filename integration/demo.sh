#!/usr/bin/env bash
# The demonstration: what a first quarter of an hour with cairn looks like, on a real tree, in under two minutes.
# Every step is shown as a person would type it. It ends with a failure if any step does not do what it says.
set -euo pipefail
cd "$(dirname "$0")/.."
exec </dev/null

started=$SECONDS
bin=$PWD/bin
work=$(mktemp -d "${TMPDIR:-/tmp}/cairn-demo.XXXXXX")
cleanup() {
  local code=$?
  cd /
  if mountpoint -q "$work/mnt"; then "$bin/cairn" umount "$work/mnt" || umount -l "$work/mnt" || true; fi
  rm -rf --one-file-system "$work"
  [ $code = 0 ] || printf '\nThe demonstration failed (exit code %s).\n' $code >&2
}
trap cleanup EXIT
trap 'exit 130' INT TERM

say() { printf '\n\033[1m# %s\033[0m\n' "$*"; }
run() { printf '\033[36m$ %s\033[0m\n' "$1"; eval "$1" || { echo "(exit code $?)"; exit 1; }; }
fails() { # fails CODE COMMAND: the command must end with this exit code
  local want=$1 code=0
  printf '\033[36m$ %s\033[0m\n' "$2"
  eval "$2" || code=$?
  echo "(exit code $code)"
  [ "$code" = "$want" ]
}

cp -a "$(go env GOROOT)/src" "$work/gosrc"
chmod -R u+w "$work/gosrc"
cd "$work"
mkdir mnt copies
export PATH="$bin:$PATH" CAIRN_REPO="$work/repo" CAIRN_KEY_FILE="$work/cairn.key" XDG_CACHE_HOME="$work/cache"
unset CAIRN_PASSWORD CAIRN_PASSWORD_FILE CAIRN_CACHE_DIR

say "A repository, encrypted, with parity 10+2; its key is made with it"
echo 'export CAIRN_REPO=repo CAIRN_KEY_FILE=cairn.key'
run 'cairn init'

say "Back up a real tree: the Go source tree ($(find gosrc -type f | wc -l) files, $(du -sh gosrc | cut -f1))"
run 'time cairn backup gosrc'

say "Change some files, and back up again"
run 'echo "// a change" >> gosrc/fmt/print.go'
run 'echo "a new file"  > gosrc/fmt/NEW.txt'
run 'rm gosrc/sort/sort.go'
sleep 1.1 # so that the two restore points differ in their second
run 'time cairn backup gosrc'
run 'cairn points'
run 'cairn diff gosrc'

say "Mount it: every restore point is a folder"
run 'cairn mount --background mnt'
run 'ls mnt/gosrc'
run 'ls mnt/gosrc/latest/fmt'
run 'grep -rn "func Fprintf" mnt/gosrc/latest/fmt'
run 'ls -l mnt/gosrc/.versions/fmt/print.go'

say "Copy a directory back, and compare it with the original"
run 'cp -a mnt/gosrc/latest/encoding copies/'
run 'diff -r gosrc/encoding copies/encoding && echo "no difference"'

say "Bring back the file that was deleted"
first=$(cairn points --json | sed -n '1s/.*"name":"\([^"]*\)".*/\1/p')
run "cp -a mnt/gosrc/$first/sort/sort.go gosrc/sort/ && ls -l gosrc/sort/sort.go"
rm gosrc/sort/sort.go # so that the tree is again what was backed up last; its directory's time is not compared below

say "Overwrite a range in the largest pack with random bytes"
pack=$(ls -S repo/packs/*/* | sed -n 1p)
size=$(stat -c %s "$pack")
offset=$((size / 5)); length=$((size / 12))
run "dd if=/dev/urandom of=$pack bs=64K seek=$offset count=$length oflag=seek_bytes iflag=fullblock,count_bytes conv=notrunc status=none"
echo "$length of $size bytes are gone from the disk"

say "The mount still reads every byte right"
run 'diff -r gosrc mnt/gosrc/latest && echo "no difference"'

say "Unmount, find the damage, mend it"
run 'cairn umount mnt'
fails 3 'cairn verify --read-data'
run 'cairn repair'
run 'cairn verify --read-data'

say "Restore without mounting, into a new directory"
run 'time cairn restore gosrc --to copies/all'
run 'diff -r gosrc copies/all && echo "no difference"'

printf '\nThe demonstration is complete: %s seconds.\n' $((SECONDS - started))
