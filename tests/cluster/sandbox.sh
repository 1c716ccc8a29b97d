# The inside of a pod: run as root, process 1 of its own namespaces, it makes the root that an image would give and
# becomes the pod's command, as a user without rights.
#   sh sandbox.sh NAME ROOT "READ-ONLY PATHS" "EMPTY FOLDERS: PATH=SIZE" FILES NAME=VALUE... COMMAND...
# FILES: a folder of files for /etc.
set -eu
name=$1 root=$2 paths=$3 empty=$4 files=$5
shift 5
echo "$name" >/proc/sys/kernel/hostname
mount -t tmpfs -o mode=755,size=16m tmpfs "$root"
for path in /bin /sbin /lib /lib64; do
  [ ! -L "$path" ] || cp -P "$path" "$root"
done
for path in /etc $paths; do
  [ ! -e "$root$path" ] || continue
  mkdir -p "$root$path"
  mount --bind "$path" "$root$path"
  mount -o remount,bind,ro,nosuid "$root$path"
done
for path in "$files"/*; do
  mount --bind "$path" "$root/etc/${path##*/}"
done
mkdir "$root/dev" "$root/proc" "$root/sys"
for path in /dev/null /dev/zero /dev/full /dev/random /dev/urandom; do
  : >"$root$path"
  mount --bind "$path" "$root$path"
done
ln -s /proc/self/fd "$root/dev/fd"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
for volume in $empty; do
  mkdir -p "$root${volume%=*}"
  mount -t tmpfs -o "mode=2777,gid=1000,size=${volume#*=}" tmpfs "$root${volume%=*}"
done
mount -o remount,bind,ro "$root"
cd "$root"
pivot_root . .
umount -l .  # the old root, which lies on the new one
exec "$@"
