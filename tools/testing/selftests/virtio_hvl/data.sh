# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Bulk data, there and back. Sourced by lib.sh.
#
# All of it by few processes that copy much: starting one takes as long as copying a MiB.

# data MIB: so many MiB, a multiple of 8 from there on; the same at each call, and no two blocks
# of it alike.
data() {
	# Not in the redirection itself: there BASHPID is that of the process which writes.
	local i block=1 file=$TMP/data.$BASHPID
	[ "$1" -lt 8 ] || block=8
	[ $(($1 % block)) -eq 0 ] || die "$1 MiB are no multiple of $block"
	if [ ! -e "$TMP/data.$block" ]; then
		# Numbers, not random bytes: /dev/urandom is slow here and no better for this.
		seq 100000000 $((100000000 + block * 104858)) >"$file"
		truncate -s $(((block << 20) - 8)) "$file"
		mv "$file" "$TMP/data.$block"
	fi
	for ((i = 0; i < $1; i += block)); do
		printf '%08d' "$i"
		cat "$TMP/data.$block"
	done
}

# chargen_data BYTES: what the peer's chargen services send (RFC 864), from the first byte on.
chargen_data() {
	local left=$1 size i file=$TMP/pattern.$BASHPID
	if [ ! -e "$TMP/pattern" ]; then
		awk 'BEGIN {
			for (line = 0; line < 95; line++) {
				text = ""
				for (i = 0; i < 72; i++) text = text sprintf("%c", 32 + (line + i) % 95)
				printf "%s\r\n", text
			}
		}' >"$file"
		for ((i = 0; i < 10; i++)); do
			cat "$file" "$file" >"$file.2"
			mv "$file.2" "$file"
		done
		mv "$file" "$TMP/pattern"
	fi
	size=$(stat -c %s "$TMP/pattern")
	for (( ; left >= size; left -= size)); do cat "$TMP/pattern"; done
	head -c "$left" "$TMP/pattern"
}

# bytes_of COUNT ADDRESS: so many bytes from where socat connects to, then it is closed.
bytes_of() { socat -u -b 65536 "$2,readbytes=$1" -; }

# exchange ADDRESS SENT GOT: what comes back from an echo server, into GOT, is file SENT.
exchange() {
	HVL_SEND=$2 HVL_GET=$3 socat "$1" EXEC:"$HERE/both_ways.sh",nofork
	cmp "$2" "$3"
}

# echoed ADDRESS MIB: so much there and back.
echoed() {
	data "$2" >"$TMP/sent"
	exchange "$1" "$TMP/sent" "$TMP/got"
	rm "$TMP/sent" "$TMP/got"
}

# differs GOT SENT: from where on, and how, to tell what is lost from what is stale.
differs() {
	local size at
	size=$(stat -c %s "$1")
	at=$({ cmp -l -n "$size" "$1" "$2" || true; } | awk 'NR == 1 { print $1 }')
	echo "$size bytes, from $at on:"
	{ cmp -l -n "$size" "$1" "$2" || true; } | awk '{ count[int(($1 - 1) / 64)]++ } END { for (at in count) print at * 64, count[at] }' | sort -n | head -n 20
	dd if="$1" bs=1 skip=$((at - 1)) count=64 status=none | od -c | head -n 5
}

# The CRC that gzip uses, as the peer writes it.
crc32() { printf '%08x\n' "$(cksum -a crc32b | cut -d ' ' -f 1)"; }

# The console's port that echoes: its device in DEV, by the name that the peer gave it.
PORT=hvl.echo
port() {
	local dir name
	for dir in /sys/class/virtio-ports/*; do
		if read -r name <"$dir/name" && [ "$name" = $PORT ]; then
			DEV=/dev/${dir##*/}
			[ -c "$DEV" ] && return
		fi
	done 2>/dev/null
	return 1
}
