#!/usr/bin/env bash
# Runs the program on an emulated processor, for instruction sets that this machine lacks:
#
#   cargo build --release -p genesis-train
#   tests/emulated_cpu.sh corei7_skylake_x selftest conv3d --threads 1                    # AVX-512
#   tests/emulated_cpu.sh sapphire_rapids selftest linear --threads 1 --precision bf16    # and bf16 products, see below
#   PROGRAM=target/debug/deps/cases-... tests/emulated_cpu.sh sapphire_rapids             # any other, a test for one
#
# Bochs 3.0 boots a Linux kernel that runs nothing else; what it prints is printed here at the end. Emulated time means
# nothing and is up to 170 times ours: small tests, one thread. On the way, serial.txt in its folder grows every few
# seconds. What to know of Bochs 3.0: AMX stays off, it refuses to enable the tiles; VCVTNE2PS2BF16 is wrong, its upper
# half comes from beyond the register (convert_ne_fp32_to_bfloat16(op1.vmm32u(n)) wants n - DWORD_ELEMENTS(len)), so
# kernels that use it fail there: to try what surrounds it, put two VCVTNEPS2BF16 in its place. Seen to pass like that
# on sapphire_rapids: every operation's cases against the reference (2026-11-30, avx512bf16 alone), three shapes in all
# tilings of Winograd (2026-11-29). On corei7_skylake_x, where nothing needs mending: all cases of conv3d and activation;
# large weights and sums stored past the caches; and, shortened as below, conv_transpose3d, linear, batch_norm,
# max_pool3d and optimizer.
#
# Nearly all of a selftest's time goes to gradients by central differences, in f64 and the same on every processor: with
# that check and the weaker instruction sets taken out of a scratch copy, all operations take ten minutes instead of hours.
#
# KERNEL is a kernel with a serial console built in (tried: 6.1, Debian's linux-image-cloud-amd64). The rest is in
# Debian 13: bochs bochsbios vgabios isolinux syslinux-common genisoimage cpio busybox-static. On another system,
# ROOT names a folder with these (debootstrap --variant=minbase --include=... trixie ROOT); it is entered by chroot.
set -euo pipefail
model=${1:?"the model: bochs --help cpu lists them"}
shift
program=${PROGRAM:-target/release/genesis}
root=${ROOT:-}
kernel=${KERNEL:?"the path of a Linux kernel"}
inside=()
[ -z "$root" ] || inside=(chroot "$root")

work=$(mktemp -d "$root/tmp/emulated_cpu.XXXXXX")
at=${work#"$root"}
trap 'kill ${bochs:-} ${viewer:-} 2>/dev/null || true; rm -rf "$work"' EXIT

# What the kernel finds: the program with its libraries, and an init that runs it.
mkdir -p "$work"/system/{bin,lib,lib64,proc,sys,dev,tmp} "$work/iso/isolinux"
cp "$root/bin/busybox" "$work/system/bin/"
cp "$program" "$work/system/bin/program"
strip "$work/system/bin/program"
ldd "$program" | awk '/=> \//{print $3}' | xargs -I{} cp {} "$work/system/lib/"
cp /lib64/ld-linux-x86-64.so.2 "$work/system/lib64/"
cat > "$work/system/init" <<INIT
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev; mount -t tmpfs tmp /tmp
export PATH=/bin HOME=/tmp LD_LIBRARY_PATH=/lib ${ENVIRONMENT:-}
program $* > /tmp/out 2>&1 &
program=\$!
# The serial line is written out in blocks, hence the spaces.
while kill -0 \$program 2>/dev/null; do
    sleep 5
    tail -n 1 /tmp/out
    head -c 8192 /dev/zero | tr '\0' ' '
done
echo; echo "all of it:"; cat /tmp/out
wait \$program
echo "exit code \$?"
echo "no more to come"
head -c 8192 /dev/zero | tr '\0' ' '
INIT
chmod +x "$work/system/init"
"${inside[@]}" sh -c "cd $at/system && find . | cpio --quiet -o -H newc" | gzip -1 > "$work/iso/initrd.gz"
cp "$kernel" "$work/iso/vmlinuz"
cp "$root/usr/lib/ISOLINUX/isolinux.bin" "$root/usr/lib/syslinux/modules/bios/ldlinux.c32" "$work/iso/isolinux/"
# Bits that Bochs announces and does not carry out: AMX tiles (600), SERIALIZE (590), ENQCMD (541). ACPI would enter
# the system management mode, from which Bochs does not return with this processor's control registers. Fast short
# copies (580) without the fast strings that Bochs lacks would let Linux 6.1's memmove run through all of memory.
cat > "$work/iso/isolinux/isolinux.cfg" <<CONFIG
default genesis
label genesis
 kernel /vmlinuz
 append initrd=/initrd.gz console=ttyS0,115200 quiet nokaslr mitigations=off lpj=1000000 tsc=unstable acpi=off nopku noxsaves clearcpuid=600,590,580,541
CONFIG
"${inside[@]}" genisoimage -quiet -R -o "$at/boot.iso" -b isolinux/isolinux.bin -c isolinux/boot.cat \
    -no-emul-boot -boot-load-size 4 -boot-info-table "$at/iso"

cat > "$work/bochsrc" <<CONFIG
cpu: model=$model, count=1, ips=100000000, reset_on_triple_fault=0, ignore_bad_msrs=1
megs: ${MEGABYTES:-2048}
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
ata0-master: type=cdrom, path=$at/boot.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=$at/serial.txt
log: $at/bochs.log
panic: action=fatal
error: action=ignore
info: action=report
display_library: rfb, options="timeout=60"
clock: sync=none
CONFIG
touch "$work/serial.txt"
"${inside[@]}" bochs-bin -q -f "$at/bochsrc" > "$work/bochs.out" 2>&1 < /dev/null &
bochs=$!
# Its screen is shown to nobody, but it waits for somebody to look.
port() { sed -n 's/.*listening for connections on port \([0-9]*\).*/\1/p' "$work/bochs.log" 2>/dev/null; }
until [ -n "$(port)" ]; do
    kill -0 "$bochs" || { tail -1 "$work/bochs.out" >&2; exit 1; }
    sleep 0.2
done
python3 - "$(port)" <<'VIEWER' &
import socket, sys
screen = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
screen.sendall(screen.recv(12))
screen.recv(4)
screen.sendall(b"\1")
try:
    while screen.recv(65536):
        pass
except OSError:
    pass
VIEWER
viewer=$!
while kill -0 "$bochs" 2>/dev/null && ! grep -q "no more to come" "$work/serial.txt"; do sleep 1; done
kill "$bochs" 2>/dev/null || true
# All but the glimpses on the way; everything where it did not come to that.
grep -q "^all of it:" "$work/serial.txt" && glimpses='1,/^all of it:/d' || glimpses=
tr -d '\r' < "$work/serial.txt" | sed -n "$glimpses;/no more to come/q;p"
if ! grep -q "^exit code 0" "$work/serial.txt"; then
    grep PANIC "$work/bochs.log" >&2 || true
    exit 1
fi
